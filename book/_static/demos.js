/* The demonstrations of the book: plain JavaScript, no library, no network.
 *
 * A page holds <div class="demo" data-demo="NAME">, and what stands inside it is shown where there
 * is no JavaScript. A demonstration is a function of that element, under its name in
 * `normtutorial.demos`; all numbers that it shows are computed by the functions of
 * `normtutorial.normalize`, which the tests compare with Python's. What the norms are called comes
 * from `norms.js`, which is written from the module's registry when the book is built.
 */
"use strict";

{
  const book = window.normtutorial;
  const {
    PLOT, buttons, emptyPlot, fixed, grid, html, minus, radios, range, row, select, slider, svg, ticks, titles,
  } = book.pieces;

  const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;
  const clamp = (x, low, high) => Math.max(low, Math.min(high, x));
  const same = (a, b) => a.every((v, i) => v === b[i]);

  /* ---- the normalizations of a block x[n][c][l] ------------------------------------------ */

  const EPS = 1e-5; // inside the root
  const GROUPS = 2;
  const group = (c, C) => Math.floor((c * GROUPS) / C);

  /* A cell is [n, c, l], C the number of channels. `sharesMeanWith` is the definition: whether the
     second cell is in the set of the first. `indexSet` says the same in formulas, `words` and
     `over` in words. */
  const METHODS = [
    {
      name: "batch",
      detail: " (training)",
      over: "a channel over samples and positions",
      sharesMeanWith: ([, c], [, d]) => d === c,
      indexSet: "d = c",
      words: ([, c]) => `all samples and all positions of channel ${c + 1}`,
    },
    {
      name: "layer",
      over: "a sample over channels and positions",
      sharesMeanWith: ([n], [m]) => m === n,
      indexSet: "m = n",
      words: ([n]) => `all channels and all positions of sample ${n + 1}`,
    },
    {
      name: "instance",
      over: "a channel of a sample over positions",
      sharesMeanWith: ([n, c], [m, d]) => m === n && d === c,
      indexSet: "m = n and d = c",
      words: ([n, c]) => `all positions of channel ${c + 1} of sample ${n + 1}`,
    },
    {
      name: "group",
      detail: `, ${GROUPS} groups`,
      over: "two channels of a sample over positions",
      sharesMeanWith: ([n, c], [m, d], C) => m === n && group(d, C) === group(c, C),
      indexSet: "m = n and d is in the group of c",
      words: ([n, c], C) => {
        const first = group(c, C) * (C / GROUPS) + 1;
        return `all positions of channels ${first} to ${first + C / GROUPS - 1} of sample ${n + 1}`;
      },
    },
    {
      name: "rms",
      over: "a sample, no mean subtracted",
      center: false,
      sharesMeanWith: ([n], [m]) => m === n,
      indexSet: "m = n",
      words: ([n]) => `all channels and all positions of sample ${n + 1}; no mean is subtracted`,
    },
  ];

  /** The words for a norm; its bare name where `norms.js` does not know it, or is missing. */
  const label = (name) => book.norms?.[name]?.label ?? name;
  const title = ({ name, detail = "" }) => label(name) + detail;

  const mapCells = (x, f) => x.map((sample, n) =>
    sample.map((channel, c) => channel.map((value, l) => f(value, [n, c, l]))));
  const cells = (x) => mapCells(x, (value, at) => ({ value, at })).flat(2);

  /** By the definition, though it asks for every pair of cells. */
  const standardize = (x, { sharesMeanWith, center = true }) => {
    const all = cells(x);
    return mapCells(x, (value, at) => {
      const set = all.filter((cell) => sharesMeanWith(at, cell.at, x[0].length)).map((cell) => cell.value);
      const middle = center ? mean(set) : 0;
      const variance = mean(set.map((v) => (v - middle) ** 2));
      return (value - middle) / Math.sqrt(variance + EPS);
    });
  };

  book.normalize = Object.fromEntries(METHODS.map((method) =>
    [method.name, (x) => standardize(x, method)]));

  /** The weights of units, each with a direction v[i] and a length g[i]. */
  book.weightNorm = (v, g) => v.map((row, i) => {
    const length = Math.hypot(...row); // no eps: a row of zeros has no direction
    return row.map((value) => g[i] * value / length);
  });

  /* ---- which numbers share a mean? ------------------------------------------------------- */

  const [N, C, H, W] = [3, 4, 2, 3];

  /** A sample as a picture with a row for each channel, and its cells: `{at, node}`. */
  function drawSample(n, choose) {
    const side = 22, pitch = 25, [left, top] = [26, 22];
    const cells = range(C).flatMap((c) => range(H * W).map((l) => {
      const at = [n, c, l], x = left + l * pitch, y = top + c * pitch;
      const node = svg("g", { onclick: () => choose(at) },
        svg("rect", { x, y, width: side, height: side, rx: 2 }),
        svg("circle", { cx: x + side / 2, cy: y + side / 2, r: 4 }));
      return { at, node };
    }));
    const size = `0 0 ${H * W * pitch + 30} ${C * pitch + 42}`;
    const picture = svg("svg", { viewBox: size, class: "demo-block", "aria-hidden": "true" },
      svg("text", { x: 30, y: 12 }, `sample ${n + 1}`),
      ...range(C).map((c) => svg("text", { x: 2, y: top + c * pitch + 16 }, `c${c + 1}`)),
      ...cells.map((cell) => cell.node),
      svg("text", { x: left, y: top + C * pitch + 12 }, `p = 1 \u2026 ${H * W} (H \u00d7 W)`));
    return { picture, cells };
  }

  function sharedMean(root) {
    let method = METHODS.find(({ name }) => name === root.dataset.method) ?? METHODS[0];
    let chosen = [0, 1, 2];
    const choose = (at) => { chosen = at; show(); };

    const samples = range(N).map((n) => drawSample(n, choose));
    const picture = html("div", { class: "demo-row", role: "img" }, ...samples.map((s) => s.picture));
    const sliders = [["sample n", N], ["channel c", C], ["position p", H * W]].map(([text, size], axis) =>
      slider(text, { max: size - 1 }, (value) => choose(chosen.map((v, i) => (i === axis ? value : v)))));
    const said = html("p", { "aria-live": "polite", class: "demo-said" });
    const formula = html("p", { class: "demo-formula" });

    function show() {
      let count = 0;
      for (const { at, node } of samples.flatMap((sample) => sample.cells)) {
        const lit = method.sharesMeanWith(chosen, at, C);
        count += lit;
        node.classList.toggle("lit", lit);
        node.classList.toggle("chosen", same(chosen, at));
      }
      sliders.forEach(({ input, show }, axis) => {
        input.value = chosen[axis];
        show(chosen[axis] + 1);
      });
      const what = method.center === false ? "root mean square" : "mean";
      said.replaceChildren(
        html("strong", { "data-count": count }, `${count} of ${N * C * H * W} numbers share a ${what}: `),
        `${method.words(chosen, C)}.`);
      formula.replaceChildren("S(n, c, p) = { (m, d, q) : ", html("span", {}, method.indexSet), " }");
      picture.setAttribute("aria-label", `${title(method)}: ${said.textContent}`);
    }

    root.replaceChildren(
      radios("Method", METHODS.map((m) => [m, title(m)]), method, (m) => { method = m; show(); }),
      picture,
      row(...sliders.map((one) => one.node)),
      said, formula,
      html("p", { class: "demo-origin" },
        "Choose a cell by touch, mouse or the three sliders. The dots mark the cells that share a mean with it. Nothing is measured here: the picture follows from the definitions."));
    show();
  }

  /* ---- try it ---------------------------------------------------------------------------- */

  const MOVED = 0.005; // what shows in two decimals

  /** A table whose rows stand in groups, `[title, [[row title, its fields], ...]]`. */
  function numbersTable(caption, columns, groups) {
    const head = html("tr", {}, html("td", {}),
      ...columns.map((text) => html("th", { scope: "col" }, text)));
    const bodies = groups.map(([title, rows]) => html("tbody", {},
      ...(title ? [html("tr", {},
        html("th", { scope: "rowgroup", colspan: columns.length + 1 }, title))] : []),
      ...rows.map(([text, fields]) => html("tr", {}, html("th", { scope: "row" }, text),
        ...fields.map((node) => html("td", {}, node))))));
    return html("table", {}, html("caption", {}, ...caption), html("thead", {}, head), ...bodies);
  }

  const numberField = (label, value, before, change) => html("input", {
    type: "number", step: "any", value, "aria-label": label, onfocus: before, oninput: change,
  });

  /** A number in a cell, tinted by its size and its sign; a dash where there is none. */
  function showNumber(node, value) {
    const known = Number.isFinite(value);
    node.textContent = known ? fixed(value) : "\u2013";
    node.dataset.value = value;
    node.parentNode.style.setProperty("--tone", known ? clamp(value / 2, -1, 1) : 0);
    node.parentNode.classList.toggle("below", value < 0);
  }

  /** Show numbers, frame those that are others than before, and return how many these are. */
  function showMoved(nodes, values, before) {
    let count = 0;
    nodes.forEach((node, i) => {
      const moved = before !== null && !(Math.abs(values[i] - before[i]) <= MOVED);
      showNumber(node, values[i]);
      node.parentNode.classList.toggle("moved", moved);
      count += moved;
    });
    return count;
  }

  /** Buttons, each of which changes what was read and writes it back. */
  const changers = (changes, read, write) =>
    buttons(changes.map(([text, change]) => [text, () => write(change(read()))]));

  const panel = (attributes, ...children) =>
    html("div", { class: "demo-panel", ...attributes }, ...children);

  const START = [
    [[1, 2, 4, 3], [3, 5, 2, 6], [-2, -1, 1, -3], [4, 5, 5, 3]],
    [[10, 20, 14, 12], [1, -3, -1, 6], [6, 2, 4, 9], [-1, 3, -2, 2]],
  ];
  const CHANGES = [
    ["add 10 to one number", (x) => mapCells(x, (v, at) => (same(at, [0, 0, 0]) ? v + 10 : v))],
    ["add 10 to all", (x) => mapCells(x, (v) => v + 10)],
    ["sample 1 times 3", (x) => mapCells(x, (v, [n]) => (n === 0 ? v * 3 : v))],
    ["add 10 to channel 1", (x) => mapCells(x, (v, [, c]) => (c === 0 ? v + 10 : v))],
    ["start again", () => START],
  ];

  /** A table of a block, and the nodes of its fields in the order of the cells. */
  function blockTable(caption, field) {
    const nodes = cells(START).map(({ at, value }) => field(at, value));
    const [channels, positions] = [START[0].length, START[0][0].length];
    const rowOf = (n, c) => nodes.slice((n * channels + c) * positions).slice(0, positions);
    const groups = range(START.length).map((n) =>
      [`sample ${n + 1}`, range(channels).map((c) => [`c${c + 1}`, rowOf(n, c)])]);
    return { nodes, table: numbersTable(caption, range(positions).map((l) => `p${l + 1}`), groups) };
  }

  function tryIt(root) {
    let before = null; // the outputs that the last change began with
    const begin = () => { before = Object.fromEntries(results.map((r) => [r.name, r.values])); };
    const input = blockTable([html("strong", {}, "The input"), html("br"), "type, or press a button"],
      ([n, c, l], value) => numberField(
        `sample ${n + 1}, channel ${c + 1}, position ${l + 1}`, value, () => begin(), () => show()));
    const results = METHODS.map((method) => {
      const count = html("span", { class: "demo-count" });
      const caption = [html("strong", {}, title(method)), html("br"), method.over, html("br"), count];
      return { name: method.name, count, values: null, ...blockTable(caption, () => html("span")) };
    });
    const status = html("p", { role: "status", class: "demo-said" });

    const read = () => {
      let i = 0;
      return mapCells(START, () => input.nodes[i++].valueAsNumber);
    };
    const write = (x) => {
      begin();
      x.flat(2).forEach((value, i) => { input.nodes[i].value = value; });
      show();
    };
    function show() {
      const x = read();
      const bad = x.flat(2).some((v) => !Number.isFinite(v));
      const said = results.map((result) => {
        const y = bad ? mapCells(x, () => NaN) : book.normalize[result.name](x);
        result.values = y.flat(2);
        const count = showMoved(result.nodes, result.values, bad ? null : before?.[result.name] ?? null);
        const moved = bad || before === null ? "" : `${count} of ${result.nodes.length} moved`;
        result.count.textContent = moved;
        return moved && `${label(result.name)} ${count}`;
      });
      status.textContent = bad ? "Every cell needs a number."
        : before === null ? "" : `Outputs that the last change has moved: ${said.join(", ")}.`;
    }

    root.replaceChildren(
      changers(CHANGES, read, write), status,
      row(panel({ "data-input": "" }, input.table),
        ...results.map(({ name, table }) => panel({ "data-norm": name }, table))),
      html("p", { class: "demo-origin" }, "Computed in this page as you type, with \u03b3 = 1, \u03b2 = 0 and \u03b5 = 0.00001. A frame marks what the last change has moved."));
    show();
  }

  /* ---- the weights of two units -------------------------------------------------------------- */

  const WEIGHTS = { v: [[3, 4, 0, 0], [1, -2, 2, 4]], g: [5, 5] };
  const WEIGHT_CHANGES = [
    ["v of unit 1 times 3", ({ v, g }) => ({ v: [v[0].map((x) => 3 * x), v[1]], g })],
    ["g of unit 1 times 2", ({ v, g }) => ({ v, g: [2 * g[0], g[1]] })],
    ["add 1 to one number of v", ({ v, g }) => ({ v: [[v[0][0] + 1, ...v[0].slice(1)], v[1]], g })],
    ["start again", () => WEIGHTS],
  ];

  function weights(root) {
    let before = null, w = null;
    const begin = () => { before = w; };
    const field = (label, value) => numberField(label, value, () => begin(), () => show());
    const v = WEIGHTS.v.map((row, i) =>
      row.map((value, j) => field(`v of unit ${i + 1}, weight ${j + 1}`, value)));
    const g = WEIGHTS.g.map((value, i) => field(`g of unit ${i + 1}`, value));
    const shown = WEIGHTS.v.map((row) => row.map(() => html("span")));
    const lengths = WEIGHTS.g.map(() => html("span"));
    const columns = WEIGHTS.v[0].map((_, j) => String(j + 1));
    const units = (fields, last) => [["", fields.map((row, i) => [`unit ${i + 1}`, [...row, last[i]]])]];
    const status = html("p", { role: "status", class: "demo-said" });

    const read = () => ({
      v: v.map((row) => row.map((node) => node.valueAsNumber)), g: g.map((node) => node.valueAsNumber),
    });
    const write = (to) => {
      begin();
      to.v.flat().forEach((value, i) => { v.flat()[i].value = value; });
      to.g.forEach((value, i) => { g[i].value = value; });
      show();
    };
    function show() {
      const now = read();
      const bad = [...now.v.flat(), ...now.g].some((x) => !Number.isFinite(x));
      const flat = now.v.some((row) => row.every((x) => x === 0));
      const computed = bad ? now.v.map((row) => row.map(() => NaN)) : book.weightNorm(now.v, now.g);
      w = computed.flat();
      const count = showMoved(shown.flat(), w, bad ? null : before);
      computed.forEach((row, i) => showNumber(lengths[i], Math.hypot(...row)));
      status.textContent = bad ? "Every cell needs a number."
        : flat ? "A row of zeros has no direction: weight norm is not defined for it."
        : before === null ? "" : `The last change has moved ${count} of ${w.length} weights.`;
    }

    root.replaceChildren(
      changers(WEIGHT_CHANGES, read, write), status,
      row(
        panel({ "data-input": "" }, numbersTable(
          [html("strong", {}, "The parameters"), html("br"), "directions v and lengths g"],
          [...columns, "g"], units(v, g))),
        panel({ "data-norm": "weight" }, numbersTable(
          [html("strong", {}, "The weights"), html("br"), "w = g v / \u2016v\u2016"],
          [...columns, "\u2016w\u2016"], units(shown, lengths)))),
      html("p", { class: "demo-origin" }, "Computed in this page as you type. At the start g is the length of v, so that w is v."));
    show();
  }

  /* ---- the activation explorer ------------------------------------------------------------ */

  /** The height at which a value is drawn; what is out of range stands at the edge. */
  const heightIn = ([low, high]) => (value) =>
    PLOT.top + PLOT.inner.height * (high - clamp(value, low, high)) / (high - low);

  /** Empty a plot and draw its axes. */
  function drawAxes(plot, ends, xlabel) {
    const height = heightIn(ends);
    plot.replaceChildren(
      ...grid(ticks(...ends).map((value) => [height(value), minus(value)])),
      ...titles(xlabel, "value entering the ReLU"));
  }

  function drawUnits(plot, ends, units) {
    const height = heightIn(ends);
    drawAxes(plot, ends, `${units.length} of the layer\u2019s units`);
    units.forEach(([p5, p15, p50, p85, p95], i) => {
      const x = PLOT.left + PLOT.inner.width * (i + 0.5) / units.length;
      plot.append(
        svg("line", { x1: x, x2: x, y1: height(p5), y2: height(p95), class: "outer" }),
        svg("line", { x1: x, x2: x, y1: height(p15), y2: height(p85), class: "inner" }),
        svg("circle", { cx: x, cy: height(p50), r: 2.6, class: "median" }));
    });
  }

  function drawHistogram(plot, ends, shares) {
    const [low, high] = ends, height = heightIn(ends), most = Math.max(...shares);
    drawAxes(plot, ends, "share of all values");
    shares.forEach((share, i) => plot.append(svg("rect", {
      x: PLOT.left, y: height(low + (high - low) * (i + 1) / shares.length), class: "bar",
      width: PLOT.inner.width * share / most, height: PLOT.inner.height / shares.length - 0.5,
    })));
  }

  /** The last evaluation up to a step, in words. */
  function accuracyAt(step, evaluations) {
    const done = evaluations.filter(([when]) => when <= step);
    if (done.length === 0) return ["The test set was not evaluated yet."];
    const [when, accuracy] = done[done.length - 1];
    return [`Test accuracy at step ${when}: `,
      html("span", { "data-accuracy": accuracy }, `${(100 * accuracy).toFixed(1)} %`), "."];
  }

  const ORDINALS = ["first", "second", "third", "fourth", "fifth"];

  function explorer(root) {
    const data = JSON.parse(root.querySelector("script").textContent);
    const names = Object.keys(data.runs);
    let norm = names[1] ?? names[0];
    let depth = 0, frame = 0;
    const units = emptyPlot(), histogram = emptyPlot();
    const said = html("p", { "aria-live": "polite", class: "demo-said" });

    function show() {
      const { layers, evaluations } = data.runs[norm];
      const [name, layer] = Object.entries(layers)[depth];
      const step = data.frames[frame];
      const medians = layer.units[frame].map((percentiles) => percentiles[2]);
      drawUnits(units, layer.range, layer.units[frame]);
      drawHistogram(histogram, layer.range, layer.shares[frame]);
      time.show(step, `training step ${step}`);
      said.replaceChildren(
        html("strong", {}, `${label(norm)}, ${name}, step ${step}. `),
        `Mean ${fixed(layer.mean[frame])}, standard deviation `,
        html("span", { "data-std": layer.std[frame] }, fixed(layer.std[frame])),
        ` over all units; medians of single units from ${fixed(Math.min(...medians))} to ${fixed(Math.max(...medians))}. `,
        ...accuracyAt(step, evaluations));
      units.setAttribute("aria-label", `Percentiles 5, 15, 50, 85 and 95 of single units. ${said.textContent}`);
      histogram.setAttribute("aria-label", `Histogram of all values together. ${said.textContent}`);
    }

    const layers = Object.keys(data.runs[norm].layers).map((_, i) => `${ORDINALS[i]} hidden layer`);
    const time = slider("training step", { max: data.frames.length - 1 }, (value) => { frame = value; show(); });
    root.replaceChildren(
      radios("Normalization", names.map((n) => [n, label(n)]), norm, (n) => { norm = n; show(); }),
      row(select("Layer", layers, (i) => { depth = i; show(); }), time.node),
      row(units, histogram), said,
      html("p", { class: "demo-origin" }, data.origin));
    show();
  }

  /* ---- start ------------------------------------------------------------------------------ */

  book.demos = { ...book.demos, "shared-mean": sharedMean, "try-it": tryIt, weights, explorer };

  const start = () => {
    if (!book.norms) console.warn("norms.js was not loaded: the norms go by their bare names.");
    for (const root of document.querySelectorAll("[data-demo]")) {
      const demo = book.demos[root.dataset.demo];
      if (!demo) continue; // what stands in for it stays
      demo(root);
      root.classList.add("demo-live");
    }
  };
  if (document.readyState === "complete") start();
  else document.addEventListener("DOMContentLoaded", start);
}
