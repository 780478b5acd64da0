// A page that was opened as a file may not download what is beside it: the browser shows it instead.
// Beside each notebook is a script with its text, which such a page may load (book/_ext/downloads.py).
"use strict";

if (location.protocol === "file:") {
  document.addEventListener("click", event => {
    const link = event.target.closest("a[download]");
    if (!link || link.protocol !== "file:") return;
    event.preventDefault();
    const script = document.createElement("script");
    script.src = `${link.href}.js`;
    script.addEventListener("load", () => {
      const save = document.createElement("a");
      const notebook = new Blob([window.normtutorial.notebook], { type: "application/x-ipynb+json" });
      save.href = URL.createObjectURL(notebook);
      save.download = link.pathname.split("/").pop();
      save.click();
      URL.revokeObjectURL(save.href);
      script.remove();
    });
    document.head.append(script);
  });
}
