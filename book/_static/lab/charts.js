/* The lab's pictures: axes and a few paths in SVG, so that their colors are the style sheet's. */
"use strict";

{
const { lab, pieces: { minus, svg, ticks } } = window.normtutorial;
const [LEFT, RIGHT, TOP, BOTTOM] = [44, 324, 24, 166]; // in the frame that the page has (lab.html)

lab.percent = (x) => `${(100 * x).toFixed(0)} %`;
lab.number = (x, digits = 2) => {
  const short = Number(x.toPrecision(digits)), small = short !== 0 && Math.abs(short) < 0.001;
  return Number.isFinite(x) ? minus(small ? short.toExponential() : short) : "no number";
};

/** Powers of ten around positive numbers. */
lab.decades = (values) => {
  const logs = values.filter((v) => v > 0 && v < Infinity).map(Math.log10), low = Math.floor(Math.min(...logs));
  return logs.length ? [10 ** low, 10 ** Math.max(low + 1, Math.ceil(Math.max(...logs)))] : [0.1, 1];
};

/** Where a value stands between two places; what is beyond them stands at the edge. */
function scale(ends, log, from, to) {
  const [f, [a, b]] = log ? [Math.log10, ends.map(Math.log10)] : [Number, ends];
  return (v) => (from + (to - from) * (Math.max(-0.02, Math.min(1.02, (f(v) - a) / (b - a))) || 0)).toFixed(1);
}

/** Draws in one of the page's pictures; `lines` makes of the two scales what each of its paths shows. */
lab.chart = (node) => {
  const [heading, axes, ...paths] = node.querySelectorAll(".title, g, :scope > path");
  let drawn = "";
  return ({ x, y, title, log = false, label = lab.number }, lines, text) => {
    const X = scale(x, false, LEFT, RIGHT), Y = scale(y, log, BOTTOM, TOP), key = String([x, y]);
    if (key !== drawn) {
      const whole = (ends) => ticks(...ends).filter(Number.isInteger), xs = whole(x);
      const ys = log ? whole(y.map(Math.log10)).map((power) => 10 ** power) : ticks(...y);
      axes.replaceChildren(
        ...ys.map((v) => svg("path", { class: "grid", d: `M${LEFT} ${Y(v)}H${RIGHT}` })),
        ...ys.map((v) => svg("text", { class: "y", x: LEFT - 5, y: Y(v), dy: 4 }, label(v))),
        ...xs.map((v) => svg("text", { class: "x", x: X(v), y: BOTTOM + 15 }, lab.number(v, 6))));
    }
    drawn = key;
    if (title) heading.textContent = title;
    lines(X, Y).forEach((d, i) => paths[i].setAttribute("d", d));
    node.setAttribute("aria-label", `${heading.textContent}. ${text}`);
  };
};

/** Paths: a line through points, a dot on each, a whisker for each. */
lab.line = (points, X, Y) => points.map(([x, y], i) => `${i ? "L" : "M"}${X(x)} ${Y(y)}`).join("");
lab.dots = (points, X, Y) => points.map(([x, y]) => `M${X(x)} ${Y(y)}h0`).join("");
lab.whiskers = (points, X, Y) => points.map(([x, low, high]) => `M${X(x)} ${Y(low)}V${Y(high)}`).join("");

/** A small histogram without axes. */
lab.histogram = (node, shares, text) => {
  const wide = 160 / shares.length, most = Math.max(...shares);
  const steps = shares.map((share) => `V${(43 - 41 * share / most).toFixed(1)}h${wide}`);
  node.querySelector(".area").setAttribute("d", `M0 44${steps.join("")}V44Z`);
  node.setAttribute("aria-label", text);
};
}
