/* The lab's pictures: axes and a few paths in SVG, so that their colors are the style sheet's. */
"use strict";

window.normtutorial.lab ??= {};

{
  const { lab, pieces: { minus, svg } } = window.normtutorial;
  lab.percent = (x) => `${(100 * x).toFixed(0)} %`;
  lab.number = (x, digits = 2) => {
    const short = Number(x.toPrecision(digits)), small = short !== 0 && Math.abs(short) < 0.001;
    return Number.isFinite(x) ? minus(small ? short.toExponential() : short) : "no number";
  };
  const at = (x) => x.toFixed(1);
  const [WIDTH, LEFT, RIGHT, TOP, BOTTOM] = [340, 44, 16, 24, 34];

  /** Round numbers from low to high; on a logarithmic axis powers of ten. */
  function ticks([low, high], log) {
    if (log) {
      const [from, to] = [Math.ceil(Math.log10(low) - 1e-9), Math.floor(Math.log10(high) + 1e-9)];
      const by = Math.ceil((to - from + 1) / 5);
      return Array.from({ length: Math.floor((to - from) / by) + 1 }, (_, i) => 10 ** (from + i * by));
    }
    const raw = (high - low) / 4, power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw);
    const first = Math.ceil(low / step - 1e-9);
    return Array.from({ length: Math.floor(high / step + 1e-9) - first + 1 }, (_, i) => (first + i) * step);
  }

  /** A picture with axes; `kinds` are the classes of its paths, and draw() takes what each shows. */
  lab.chart = (title, xlabel, kinds, height = 200) => {
    const axes = svg("g"), paths = kinds.map((kind) => svg("path", { class: kind }));
    const heading = svg("text", { x: 2, y: 13, class: "title" });
    heading.textContent = title;
    const node = svg("svg", { viewBox: `0 0 ${WIDTH} ${height}`, class: "lab-chart", role: "img", "aria-label": title },
      heading, axes, ...paths);
    let drawn = "";

    const scale = ([low, high], log, from, to) => {
      const f = log ? (v) => Math.log10(Math.max(v, 1e-300)) : (v) => v;
      const [a, b] = [f(low), f(high)];
      return (v) => from + (to - from) * (Math.max(-0.02, Math.min(1.02, (f(v) - a) / (b - a))) || 0);
    };
    /** `lines` makes of the two scales a path for each kind. */
    const draw = ({ x, y, log = false, whole = false, percent = false }, lines, text) => {
      const X = scale(x, false, LEFT, WIDTH - RIGHT), Y = scale(y, log, height - BOTTOM, TOP);
      const key = JSON.stringify([x, y]);
      if (key !== drawn) {
        drawn = key;
        const label = (v) => (percent ? `${Math.round(100 * v)} %` : lab.number(v, 3));
        const xs = ticks(x, false).filter((v) => !whole || Number.isInteger(v));
        axes.replaceChildren(
          ...ticks(y, log).map((v) => svg("path", { class: "grid", d: `M${LEFT} ${at(Y(v))}H${WIDTH - RIGHT}` })),
          ...ticks(y, log).map((v) => svg("text", { class: "y", x: LEFT - 5, y: at(Y(v) + 4) }, label(v))),
          ...xs.map((v) => svg("text", { class: "x", x: at(X(v)), y: height - BOTTOM + 15 }, lab.number(v, 6))),
          svg("text", { class: "x", x: (LEFT + WIDTH - RIGHT) / 2, y: height - 4 }, xlabel));
      }
      lines(X, Y).forEach((d, i) => paths[i].setAttribute("d", d));
      node.setAttribute("aria-label", `${heading.textContent}. ${text}`);
    };
    const name = (text) => {
      if (heading.textContent !== text) heading.textContent = text;
    };
    return { node, draw, name };
  };

  /** Paths: a line through points, a dot on each, a whisker for each. */
  lab.line = (points, X, Y) => points.map(([x, y], i) => `${i ? "L" : "M"}${at(X(x))} ${at(Y(y))}`).join("");
  lab.dots = (points, X, Y) => points.map(([x, y]) => `M${at(X(x))} ${at(Y(y))}h0`).join("");
  lab.whiskers = (points, X, Y) => points.map(([x, low, high]) => `M${at(X(x))} ${at(Y(low))}V${at(Y(high))}`).join("");

  /** A small histogram without axes, but for a mark at 0. */
  lab.histogram = (kind) => {
    const path = svg("path", { class: kind });
    const node = svg("svg", { viewBox: "0 0 160 44", class: "lab-histogram", role: "img", preserveAspectRatio: "none" },
      svg("path", { class: "grid", d: "M80 0V44M0 43.5H160" }), path);
    const draw = (shares, text) => {
      const wide = 160 / shares.length, most = Math.max(...shares);
      path.setAttribute("d", `M0 44${shares.map((s) => `V${at(43 - 41 * s / most)}h${wide}`).join("")}V44Z`);
      node.setAttribute("aria-label", text);
    };
    return { node, draw };
  };
}
