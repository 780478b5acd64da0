/* The line between two networks, to drag along: which accuracy the network there has, and which
 * share of the variance its layers are given. It is made of the pieces of demos.js; the numbers are
 * those that the chapter has recorded (`normtutorial.explorer.Recording`), drawn as they are.
 */
"use strict";

{
  const book = window.normtutorial;
  const { PLOT, along, emptyPlot, grid, html, radios, row, slider, svg, titles } = book.pieces;
  const { left, top, inner } = PLOT;

  const percent = (x) => `${(100 * x).toFixed(1)} %`;
  const digits = (x) => (x >= 0.0995 ? x.toFixed(2) : x.toPrecision(2));

  /** Accuracy over the line: all curves thin, the chosen one thick, the place on it as a dot. */
  function drawLine(plot, data, chosen, stop) {
    const x = (weight) => left + 6 + (inner.width - 12) * weight;
    const y = (accuracy) => top + inner.height * (1 - accuracy);
    const curve = (values, style) => svg("polyline", {
      points: values.map((value, i) => `${x(data.weights[i])},${y(value).toFixed(1)}`).join(" "), class: style,
    });
    plot.replaceChildren(
      ...grid([0, 0.2, 0.4, 0.6, 0.8, 1].map((value) => [y(value), String(value)])),
      ...along([0, 0.25, 0.5, 0.75, 1].map((value) => [x(value), value])),
      ...titles("share of network b", "test accuracy"),
      ...data.lines.map((line) => curve(line.accuracy, "other")),
      curve(chosen.accuracy, "chosen"),
      svg("circle", { cx: x(data.weights[stop]), cy: y(chosen.accuracy[stop]), r: 6, class: "now" }));
  }

  /** The variance that is left, a bar for each layer on a logarithmic axis. */
  function drawLayers(plot, values) {
    const low = -3; // of the axis: a thousandth
    const y = (value) => top + inner.height * Math.min(1, Math.log10(value) / low);
    const pitch = inner.width / values.length;
    plot.replaceChildren(
      ...grid([1, 0.1, 0.01, 0.001].map((value) => [y(value), String(value)])),
      ...values.map((value, i) => svg("rect", {
        x: left + pitch * (i + 0.2), width: pitch * 0.6, y: y(Math.min(value, 1)),
        height: y(0.001) - y(Math.min(value, 1)), class: "bar",
      })),
      ...along(values.map((_, i) => [left + pitch * (i + 0.5), i + 1])),
      ...titles("layer", "variance left"));
  }

  function averaging(root) {
    const data = JSON.parse(root.querySelector("script").textContent);
    let units = data.lines[0].units, statistics = data.lines[0].statistics;
    let stop = Math.floor(data.weights.length / 2);
    const line = emptyPlot(), layers = emptyPlot();
    const said = html("p", { "aria-live": "polite", class: "demo-said" });

    function show() {
      const chosen = data.lines.find((one) => one.units === units && one.statistics === statistics);
      const [digit, most] = chosen.most[stop], found = chosen.left[stop];
      const weight = `${Math.round(100 * data.weights[stop])} %`;
      drawLine(line, data, chosen, stop);
      drawLayers(layers, found);
      ofB.show(weight, `${weight} of network b`);
      said.replaceChildren(
        html("strong", {}, `${weight} of network b, units ${units}, ${statistics} statistics. `),
        "Test accuracy ", html("span", { "data-accuracy": chosen.accuracy[stop] }, percent(chosen.accuracy[stop])),
        `; ${percent(most)} of all images are named ${digit}. Variance left: `,
        html("span", { "data-left": found.at(-1) }, digits(found.at(-1))),
        ` in layer ${found.length}, ${digits(found[0])} in layer 1.`);
      line.setAttribute("aria-label", `Accuracy on the line between the networks. ${said.textContent}`);
      layers.setAttribute("aria-label", `Variance left by layer: ${found.map(digits).join(", ")}.`);
    }

    const several = (key) => [...new Set(data.lines.map((one) => one[key]))].map((text) => [text, text]);
    const ofB = slider("share of b", { max: data.weights.length - 1, value: stop }, (value) => { stop = value; show(); });
    root.replaceChildren(
      radios("Units of b", several("units"), units, (value) => { units = value; show(); }),
      radios("Statistics", several("statistics"), statistics, (value) => { statistics = value; show(); }),
      row(ofB.node), row(line, layers), said,
      html("p", { class: "demo-origin" }, data.origin));
    show();
  }

  book.demos = { ...book.demos, averaging };
}
