/* The empty plot of a demonstration, and what stands around its curves. */
"use strict";

{
  const { pieces } = window.normtutorial;
  const { svg } = pieces;
  const PLOT = { width: 320, height: 260, left: 44, right: 4, top: 10, bottom: 34 };
  PLOT.inner = { width: PLOT.width - PLOT.left - PLOT.right, height: PLOT.height - PLOT.top - PLOT.bottom };
  const { width, height, left, right, top, inner } = PLOT;

  const emptyPlot = () => svg("svg", { viewBox: `0 0 ${width} ${height}`, class: "demo-plot", role: "img" });

  /** Lines across a plot, `[height, text]`. */
  const grid = (lines) => lines.flatMap(([y, text]) => [
    svg("line", { x1: left, x2: width - right, y1: y, y2: y, class: "grid" }),
    svg("text", { x: left - 5, y: y + 4, class: "tick" }, text),
  ]);

  /** Labels along the axis below, `[place, text]`. */
  const along = (labels) => labels.map(([x, text]) => svg("text", { x, y: height - 21, class: "label" }, text));

  const titles = (below, beside) => [
    svg("text", { x: (left + width) / 2, y: height - 5, class: "label" }, below),
    svg("text", { transform: `translate(11 ${top + inner.height / 2}) rotate(-90)`, class: "label" }, beside),
  ];

  Object.assign(pieces, { PLOT, along, emptyPlot, grid, titles });
}
