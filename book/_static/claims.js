/* The filter of the list of all claims: by method, and by the kind of claim.
 *
 * A row carries its kind and its methods as classes. Without this script every row is there.
 */
"use strict";

{
  const KINDS = [
    ["", "all kinds"],
    ["kind-exact", "exact"],
    ["kind-measured", "measured over seeds"],
    ["kind-recorded", "read from a record"],
    ["claim-failed", "failed on unseen seeds"],
  ];

  /** A labelled choice; options are pairs of a class and its text. */
  function select(text, options, change) {
    const label = document.createElement("label");
    const input = document.createElement("select");
    for (const [value, shown] of options) input.add(new Option(shown, value));
    input.addEventListener("change", change);
    label.append(`${text} `, input);
    return { label, input };
  }

  function start(place) {
    const lists = [...document.querySelectorAll("ul.claim-list:not(.claim-failures)")];
    const rows = lists.flatMap((list) => [...list.children]);
    const names = Object.entries(window.normtutorial?.norms ?? {});
    const methods = names.map(([name, { label }]) => [`method-${name}`, label])
      .filter(([name]) => rows.some((row) => row.classList.contains(name)));
    const kinds = KINDS.filter(([name]) => !name || rows.some((row) => row.classList.contains(name)));

    const said = document.createElement("p");
    said.setAttribute("role", "status");
    const method = select("Method", [["", "all methods"], ...methods], show);
    const kind = select("Kind", kinds, show);
    place.append(method.label, kind.label, said);

    function show() {
      const wanted = [method.input.value, kind.input.value].filter(Boolean);
      let count = 0;
      for (const row of rows) {
        row.hidden = !wanted.every((name) => row.classList.contains(name));
        count += !row.hidden;
      }
      for (const list of lists) {
        const chapter = list.closest("section");
        chapter.hidden = [...list.children].every((row) => row.hidden);
        for (const link of document.querySelectorAll(`.page-toc a[href="#${chapter.id}"]`)) {
          link.closest("li").hidden = chapter.hidden;
        }
      }
      said.textContent = `${count} of ${rows.length} claims are shown.`;
    }
    show();
  }

  const startAll = () => document.querySelectorAll(".claims-filter").forEach(start);
  if (document.readyState === "complete") startAll();
  else document.addEventListener("DOMContentLoaded", startAll);
}
