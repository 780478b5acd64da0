/* A painter's pictures between two digits, to drag through: one slider leads the coarse layers from
 * one digit to the other, one the fine layers. It is made of the pieces of demos.js; the pictures are
 * those that the chapter has recorded (`normtutorial.explorer.Recording`), a sheet for each pair.
 */
"use strict";

{
  const book = window.normtutorial;
  const { html, radios, row, slider } = book.pieces;

  function painter(root) {
    const data = JSON.parse(root.querySelector("script").textContent);
    const { side, stops } = data;
    const sheets = data.pairs.map((pair) =>
      html("img", { src: `data:image/png;base64,${pair.sheet}`, alt: "", onload: () => show() }));
    let pair = data.pairs[0], coarse = 0, fine = 0;
    const canvas = html("canvas", { width: side, height: side, role: "img", class: "demo-canvas" });
    const said = html("p", { "aria-live": "polite", class: "demo-said" });
    const way = (stop) => `${Math.round(100 * stop / (stops - 1))} %`;

    function show() {
      const [a, b] = pair.digits, sheet = sheets[data.pairs.indexOf(pair)];
      const pen = canvas.getContext("2d");
      pen.clearRect(0, 0, side, side);
      if (sheet.complete) pen.drawImage(sheet, fine * side, coarse * side, side, side, 0, 0, side, side);
      for (const [one, stop] of [[ofCoarse, coarse], [ofFine, fine]]) {
        one.input.value = stop;
        one.show(way(stop), `${way(stop)} of the way from ${a} to ${b}`);
      }
      const ink = pair.ink[coarse][fine];
      said.replaceChildren(
        html("strong", {}, `From a ${a} to a ${b}: coarse layers ${way(coarse)}, fine layers ${way(fine)}. `),
        "Mean of all pixels: ", html("span", { "data-ink": ink }, ink.toFixed(3)), ".");
      canvas.setAttribute("aria-label", `A painted picture. ${said.textContent}`);
    }

    const ofCoarse = slider("layers 1 and 2", { max: stops - 1 }, (stop) => { coarse = stop; show(); });
    const ofFine = slider("layers 3 and 4", { max: stops - 1 }, (stop) => { fine = stop; show(); });
    root.replaceChildren(
      radios("Digits", data.pairs.map((one) => [one, `${one.digits[0]} to ${one.digits[1]}`]), pair,
        (one) => { pair = one; show(); }),
      row(canvas, html("div", { class: "demo-sliders" }, ofCoarse.node, ofFine.node)), said,
      html("p", { class: "demo-origin" }, data.origin));
    show();
  }

  book.demos = { ...book.demos, painter };
}
