// What is wider than a narrow screen scrolls in its own box: such a box says so, and takes the focus,
// so that the arrow keys move it.
"use strict";

(() => {
  const NAMES = { FIGURE: "figure", DIV: "table", "MJX-CONTAINER": "formula" };
  const WIDE = ".bd-article :is(figure, .pst-scrollable-table-container, .demo-panel, mjx-container[display])";

  // "Fig. 2.1 scrolls sideways.": of several figures each has its own name.
  function named(box) {
    const number = box.querySelector(".caption-number");
    return `${number ? number.textContent.trim() : `This ${NAMES[box.tagName]}`} scrolls sideways.`;
  }

  function mark(box) {
    const scrolls = box.scrollWidth > box.clientWidth + 1;
    if (scrolls === box.classList.contains("scrolls")) return;
    box.classList.toggle("scrolls", scrolls);
    const formula = box.tagName === "MJX-CONTAINER";
    if (!scrolls) {
      (formula ? box.previousElementSibling : box.querySelector(".scrolls-hint")).remove();
      for (const name of ["tabindex", "role", "aria-label"]) box.removeAttribute(name);
      return;
    }
    const hint = document.createElement("p");
    hint.className = "scrolls-hint";
    hint.textContent = `${named(box)} ⟷`;
    box[formula ? "before" : "prepend"](hint);
    box.tabIndex = 0;
    box.setAttribute("role", "group");
    box.setAttribute("aria-label", named(box));
  }

  window.addEventListener("load", async () => {
    if (window.MathJax) await MathJax.startup.promise;
    const watched = new ResizeObserver(entries => entries.forEach(entry => mark(entry.target)));
    document.querySelectorAll(WIDE).forEach(box => watched.observe(box));
  });
})();
