/* The demonstrations of the book: plain JavaScript, no library, no network.
 *
 * A page holds <div class="demo" data-demo="NAME">, and what stands inside it is shown where there
 * is no JavaScript. Each demonstration is one function of that element; all numbers that it shows
 * are computed by the functions of `norms`, which the tests compare with Python's.
 */
(() => {
  "use strict";

  const EPS = 1e-5;
  const SVG = "http://www.w3.org/2000/svg";

  /* ---- small helpers ------------------------------------------------------------------- */

  const fill = (node, attributes, children) => {
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else if (value !== false) node.setAttribute(name, value === true ? "" : value);
    }
    node.append(...children);
    return node;
  };
  const html = (tag, attributes = {}, ...children) =>
    fill(document.createElement(tag), attributes, children);
  const svg = (tag, attributes = {}, ...children) =>
    fill(document.createElementNS(SVG, tag), attributes, children);
  let ids = 0;
  const newId = () => `demo-${++ids}`;
  const sum = (values) => values.reduce((a, b) => a + b, 0);
  const mean = (values) => sum(values) / values.length;
  const range = (n) => Array.from({ length: n }, (_, i) => i);
  const minus = (text) => String(text).replace("-", "\u2212");
  const fixed = (x, digits = 2) => {
    const text = x.toFixed(digits);
    return minus(Number(text) === 0 ? text.replace("-", "") : text);
  };

  const radios = (legend, options, chosen, change) => {
    const name = newId();
    const choices = options.map(([value, text]) =>
      html("label", {}, html("input", {
        type: "radio", name, value, checked: value === chosen, onchange: () => change(value),
      }), ` ${text}`));
    return html("fieldset", {}, html("legend", {}, legend), ...choices);
  };

  const slider = (label, max, value, change) => {
    const id = newId();
    const shown = html("output", { for: id });
    const input = html("input", {
      type: "range", id, min: 0, max, step: 1, value, oninput: () => change(Number(input.value)),
    });
    return { node: html("div", { class: "demo-slider" }, html("label", { for: id }, label), input, shown), input, shown };
  };

  const select = (label, options, change) => {
    const id = newId();
    const input = html("select", { id, onchange: () => change(input.value) },
      ...options.map(([value, text]) => html("option", { value }, text)));
    return { node: html("div", { class: "demo-select" }, html("label", { for: id }, label), input), input };
  };

  /* ---- the normalizations of a block x[n][c][l], eps inside the root --------------------- */

  const GROUPS = 2;
  /** Whether cell b shares its mean with cell a; both are [n, c, l]. `size` is the number of channels. */
  const shares = {
    batch: ([, c], [, k]) => k === c,
    layer: ([n], [m]) => m === n,
    instance: ([n, c], [m, k]) => m === n && k === c,
    group: ([n, c], [m, k], size) => m === n
      && Math.floor((k * GROUPS) / size) === Math.floor((c * GROUPS) / size),
    rms: ([n], [m]) => m === n,
  };

  const cells = (x) => x.flatMap((sample, n) =>
    sample.flatMap((row, c) => row.map((_, l) => [n, c, l])));

  const norms = {};
  for (const method of Object.keys(shares)) {
    norms[method] = (x) => {
      const all = cells(x);
      return x.map((sample, n) => sample.map((row, c) => row.map((value, l) => {
        const set = all.filter((b) => shares[method]([n, c, l], b, sample.length))
          .map(([m, k, j]) => x[m][k][j]);
        const center = method === "rms" ? 0 : mean(set);
        const variance = mean(set.map((v) => (v - center) ** 2));
        return (value - center) / Math.sqrt(variance + EPS);
      })));
    };
  }
  /** Each sample's row taken as the weights of a unit, with length 1. No eps: a zero row has no direction. */
  norms.weight = (x) => x.map((sample) => {
    const length = Math.hypot(...sample.flat());
    return sample.map((row) => row.map((v) => v / length));
  });

  /* ---- which numbers share a mean? ------------------------------------------------------- */

  const METHODS = [["batch", "batch norm"], ["layer", "layer norm"], ["instance", "instance norm"],
    ["group", "group norm, 2 groups"], ["rms", "RMS norm"]];
  const INDEX_SET = {
    batch: "d = c",
    layer: "m = n",
    instance: "m = n and d = c",
    group: "m = n and d is in the group of c",
    rms: "m = n",
  };
  const WORDS = {
    batch: ([, c]) => `all samples and all positions of channel ${c + 1}`,
    layer: ([n]) => `all channels and all positions of sample ${n + 1}`,
    instance: ([n, c]) => `all positions of channel ${c + 1} of sample ${n + 1}`,
    group: ([n, c], C) => {
      const first = Math.floor((c * GROUPS) / C) * (C / GROUPS);
      return `all positions of channels ${first + 1} to ${first + C / GROUPS} of sample ${n + 1}`;
    },
    rms: ([n]) => `all channels and all positions of sample ${n + 1}; no mean is subtracted`,
  };

  function sharedMean(root) {
    const [N, C, H, W] = [3, 4, 2, 3];
    const L = H * W, side = 22, gap = 3;
    const at = [0, 1, 2];
    let method = root.dataset.method || "batch";
    const rects = new Map();
    const draw = () => {
      let count = 0;
      for (const [key, group] of rects) {
        const cell = key.split(",").map(Number);
        const lit = shares[method](at, cell, C);
        const chosen = cell.every((v, i) => v === at[i]);
        count += lit;
        group.setAttribute("class", `${lit ? "lit" : ""} ${chosen ? "chosen" : ""}`);
      }
      controls.forEach((control, i) => {
        control.input.value = at[i];
        control.shown.value = at[i] + 1;
      });
      const name = METHODS.find(([value]) => value === method)[1];
      const what = method === "rms" ? "root mean square" : "mean";
      said.replaceChildren(
        html("strong", { "data-count": count }, `${count} of ${N * C * L} numbers share a ${what}: `),
        `${WORDS[method](at, C)}.`);
      formula.replaceChildren("S(n, c, p) = { (m, d, q) : ", html("span", {}, INDEX_SET[method]), " }");
      picture.setAttribute("aria-label", `${name}: ${said.textContent}`);
    };
    const choose = (cell) => { cell.forEach((v, i) => { at[i] = v; }); draw(); };
    const samples = range(N).map((n) => {
      const group = svg("svg", {
        viewBox: `0 0 ${L * (side + gap) + 30} ${C * (side + gap) + 36}`, class: "demo-block", "aria-hidden": "true",
      });
      group.append(svg("text", { x: 30, y: 12 }, `sample ${n + 1}`));
      for (const c of range(C)) {
        group.append(svg("text", { x: 2, y: 22 + c * (side + gap) + 16 }, `c${c + 1}`));
        for (const l of range(L)) {
          const x = 26 + l * (side + gap), y = 22 + c * (side + gap);
          const cell = svg("g", { onclick: () => choose([n, c, l]) },
            svg("rect", { x, y, width: side, height: side, rx: 2 }),
            svg("circle", { cx: x + side / 2, cy: y + side / 2, r: 4 }));
          rects.set([n, c, l].join(","), cell);
          group.append(cell);
        }
      }
      group.append(svg("text", { x: 26, y: 22 + C * (side + gap) + 12 }, `p = 1 \u2026 ${L} (H \u00d7 W)`));
      return group;
    });
    const picture = html("div", { class: "demo-row", role: "img" }, ...samples);
    const controls = [["sample n", N], ["channel c", C], ["position p", L]].map(([label, size], i) =>
      slider(label, size - 1, at[i], (value) => { at[i] = value; draw(); }));
    const said = html("p", { "aria-live": "polite", class: "demo-said" });
    const formula = html("p", { class: "demo-formula" });
    root.replaceChildren(
      radios("Method", METHODS, method, (value) => { method = value; draw(); }),
      picture,
      html("div", { class: "demo-row" }, ...controls.map((control) => control.node)),
      said, formula,
      html("p", { class: "demo-origin" },
        "Choose a cell by touch, mouse or the three sliders. The dots mark the cells that share a mean with it. Nothing is measured here: the picture follows from the definitions."));
    draw();
  }

  /* ---- try it ---------------------------------------------------------------------------- */

  const START = [[[1, 2], [3, 5], [-2, 0], [4, 4]], [[10, 20], [0, 1], [6, 2], [-1, 3]]];
  const CHANGES = [
    ["start again", () => START],
    ["add 10 to all", (x) => x.map((s) => s.map((r) => r.map((v) => v + 10)))],
    ["sample 1 times 3", (x) => x.map((s, n) => s.map((r) => r.map((v) => (n === 0 ? v * 3 : v))))],
    ["add 10 to channel 1", (x) => x.map((s) => s.map((r, c) => r.map((v) => (c === 0 ? v + 10 : v))))],
  ];
  const PANELS = [
    ["batch", "batch norm (training)", "a channel over samples and positions"],
    ["layer", "layer norm", "a sample over channels and positions"],
    ["instance", "instance norm", "a channel of a sample over positions"],
    ["group", "group norm, 2 groups", "two channels of a sample over positions"],
    ["rms", "RMS norm", "a sample, no mean subtracted"],
    ["weight", "weight norm, g = 1", "each sample\u2019s row read as a weight vector"],
  ];

  function tryIt(root) {
    let x = START;
    const grid = (caption, cell) => html("table", {},
      html("caption", {}, ...caption),
      html("thead", {}, html("tr", {}, html("td", {}),
        ...range(4).map((c) => html("th", { scope: "colgroup", colspan: 2 }, `c${c + 1}`)))),
      html("tbody", {}, ...range(2).map((n) => html("tr", {},
        html("th", { scope: "row" }, `n${n + 1}`),
        ...range(8).map((i) => html("td", { class: i % 2 ? "" : "first" }, cell(n, i >> 1, i % 2)))))));
    const inputs = new Map();
    const input = (n, c, l) => {
      const field = html("input", {
        type: "number", step: "any", value: x[n][c][l], oninput: read,
        "aria-label": `sample ${n + 1}, channel ${c + 1}, position ${l + 1}`,
      });
      inputs.set([n, c, l].join(","), field);
      return field;
    };
    const results = PANELS.map(([name, title, what]) => {
      const shown = new Map();
      const table = grid([html("strong", {}, title), html("br"), what], (n, c, l) => {
        const cell = html("span");
        shown.set([n, c, l].join(","), cell);
        return cell;
      });
      return { name, shown, table: html("div", { class: "demo-panel", "data-norm": name }, table) };
    });
    const warning = html("p", { role: "status", class: "demo-said" });

    function show() {
      const bad = x.flat(2).some((v) => !Number.isFinite(v));
      const flat = !bad && x.some((sample) => sample.flat().every((v) => v === 0));
      warning.textContent = bad ? "Every cell needs a number."
        : flat ? "A row of zeros has no direction: weight norm is not defined for it." : "";
      for (const { name, shown } of results) {
        const y = bad ? null : norms[name](x);
        for (const [key, cell] of shown) {
          const [n, c, l] = key.split(",").map(Number);
          const value = y ? y[n][c][l] : NaN;
          cell.textContent = Number.isFinite(value) ? fixed(value) : "\u2013";
          cell.dataset.value = value;
          cell.parentNode.style.setProperty("--tone", Number.isFinite(value) ? Math.max(-1, Math.min(1, value / 2)) : 0);
          cell.parentNode.classList.toggle("below", value < 0);
        }
      }
    }
    function read() {
      x = x.map((s, n) => s.map((r, c) => r.map((_, l) => {
        const text = inputs.get([n, c, l].join(",")).value;
        return text.trim() === "" ? NaN : Number(text);
      })));
      show();
    }
    const write = (values) => {
      x = values;
      for (const [key, field] of inputs) {
        const [n, c, l] = key.split(",").map(Number);
        field.value = x[n][c][l];
      }
      show();
    };
    const table = grid([html("strong", {}, "The input"), ": 2 samples, 4 channels, 2 positions each"], input);
    root.replaceChildren(
      html("div", { class: "demo-panel demo-input" }, table),
      html("div", { class: "demo-buttons" }, ...CHANGES.map(([label, change]) =>
        html("button", { type: "button", onclick: () => write(change(x)) }, label))),
      warning,
      html("div", { class: "demo-row" }, ...results.map((result) => result.table)),
      html("p", { class: "demo-origin" }, "Computed in this page as you type, with \u03b3 = 1, \u03b2 = 0 and \u03b5 = 0.00001."));
    show();
  }

  /* ---- the activation explorer ------------------------------------------------------------ */

  /** Round tick values for an axis. */
  function ticks(low, high) {
    const raw = (high - low) / 4;
    const power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw);
    const first = Math.ceil(low / step);
    return range(Math.floor(high / step) - first + 1).map((i) => Number(((first + i) * step).toPrecision(6)));
  }

  function explorer(root) {
    const data = JSON.parse(root.querySelector("script").textContent);
    const names = Object.keys(data.runs);
    let norm = names[names.length > 1 ? 1 : 0];
    let layer = 0, step = 0;
    const [W, H, left, bottom, top] = [320, 260, 44, 34, 10];
    const units = svg("svg", { viewBox: `0 0 ${W} ${H}`, class: "demo-plot", role: "img" });
    const pooled = svg("svg", { viewBox: `0 0 ${W} ${H}`, class: "demo-plot", role: "img" });
    const said = html("p", { "aria-live": "polite", class: "demo-said" });

    const frame = (plot, scale, low, high, xlabel) => {
      plot.replaceChildren();
      for (const value of ticks(low, high)) {
        plot.append(svg("line", { x1: left, x2: W - 4, y1: scale(value), y2: scale(value), class: "grid" }),
          svg("text", { x: left - 5, y: scale(value) + 4, class: "tick" }, minus(value)));
      }
      plot.append(svg("text", { x: (left + W) / 2, y: H - 8, class: "label" }, xlabel),
        svg("text", { transform: `translate(11 ${(H - bottom + top) / 2}) rotate(-90)`, class: "label" }, "value entering the ReLU"));
    };

    function draw() {
      const run = data.runs[norm];
      const names = Object.keys(run.layers);
      const record = run.layers[names[layer]];
      const [low, high] = record.range;
      const scale = (v) => top + (H - top - bottom) * (high - Math.max(low, Math.min(high, v))) / (high - low);
      const now = record.units[step];
      const count = now.length;
      frame(units, scale, low, high, `${count} of the layer\u2019s units`);
      now.forEach(([p5, p15, p50, p85, p95], i) => {
        const x = left + (W - 4 - left) * (i + 0.5) / count;
        units.append(svg("line", { x1: x, x2: x, y1: scale(p5), y2: scale(p95), class: "outer" }),
          svg("line", { x1: x, x2: x, y1: scale(p15), y2: scale(p85), class: "inner" }),
          svg("circle", { cx: x, cy: scale(p50), r: 2.6, class: "median" }));
      });
      const bins = record.counts[step];
      const most = Math.max(...bins);
      frame(pooled, scale, low, high, "share of all values");
      bins.forEach((share, i) => {
        const y = scale(low + (high - low) * (i + 1) / bins.length);
        pooled.append(svg("rect", {
          x: left, y, width: (W - 4 - left) * share / most,
          height: (H - top - bottom) / bins.length - 0.5, class: "bar",
        }));
      });
      const at = data.steps[step];
      const looks = run.looks.filter(([s]) => s <= at);
      const [when, accuracy] = looks.length ? looks[looks.length - 1] : [null, null];
      time.shown.value = at;
      time.input.setAttribute("aria-valuetext", `training step ${at}`);
      const medians = now.map((p) => p[2]);
      said.replaceChildren(
        html("strong", {}, `${norm}, ${names[layer]}, step ${at}. `),
        `Mean ${fixed(record.mean[step])}, standard deviation `,
        html("span", { "data-std": record.std[step] }, fixed(record.std[step])),
        ` over all units; medians of single units from ${fixed(Math.min(...medians))} to ${fixed(Math.max(...medians))}. `,
        when === null ? "The test set was not looked at yet." : `Test accuracy at step ${when}: `,
        when === null ? "" : html("span", { "data-accuracy": accuracy }, `${(100 * accuracy).toFixed(1)} %`),
        when === null ? "" : ".");
      units.setAttribute("aria-label", `Percentiles 5, 15, 50, 85 and 95 of single units. ${said.textContent}`);
      pooled.setAttribute("aria-label", `Histogram of all values together. ${said.textContent}`);
    }
    const layerNames = Object.keys(data.runs[norm].layers);
    const ordinal = ["first", "second", "third", "fourth", "fifth"];
    const which = radios("Normalization", names.map((n) => [n, n]), norm, (value) => { norm = value; draw(); });
    const depth = select("Layer", layerNames.map((_, i) => [i, `${ordinal[i]} hidden layer`]), (value) => { layer = Number(value); draw(); });
    const time = slider("training step", data.steps.length - 1, 0, (value) => { step = value; draw(); });
    root.replaceChildren(which, html("div", { class: "demo-row" }, depth.node, time.node),
      html("div", { class: "demo-row" }, units, pooled), said,
      html("p", { class: "demo-origin" }, data.origin));
    root.dataset.norm = norm;
    draw();
  }

  /* ---- start ------------------------------------------------------------------------------ */

  const demos = { "shared-mean": sharedMean, "try-it": tryIt, explorer };
  const start = () => {
    for (const root of document.querySelectorAll("[data-demo]")) {
      demos[root.dataset.demo](root);
      root.classList.add("demo-live");
    }
    // What scrolls must be reached by keyboard.
    for (const figure of document.querySelectorAll(".cell_output figure")) {
      if (figure.scrollWidth > figure.clientWidth) figure.tabIndex = 0;
    }
  };
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
