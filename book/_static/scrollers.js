// What is wider than a narrow screen scrolls in its own box: such a box says so, and takes the focus,
// so that the arrow keys move it.
"use strict";

(() => {
  const NAMES = { FIGURE: "figure", DIV: "table" };

  function mark(box) {
    const scrolls = box.scrollWidth > box.clientWidth + 1;
    if (scrolls === box.classList.contains("scrolls")) return;
    box.classList.toggle("scrolls", scrolls);
    if (!scrolls) {
      box.querySelector(".scrolls-hint").remove();
      for (const name of ["tabindex", "role", "aria-label"]) box.removeAttribute(name);
      return;
    }
    const hint = document.createElement("p");
    hint.className = "scrolls-hint";
    hint.textContent = `This ${NAMES[box.tagName]} scrolls sideways. ⟷`;
    box.prepend(hint);
    box.tabIndex = 0;
    box.setAttribute("role", "region");
    box.setAttribute("aria-label", hint.textContent.slice(0, -2));
  }

  document.addEventListener("DOMContentLoaded", () => {
    const watched = new ResizeObserver(entries => entries.forEach(entry => mark(entry.target)));
    document
      .querySelectorAll(".bd-article figure, .bd-article .pst-scrollable-table-container")
      .forEach(box => watched.observe(box));
  });
})();
