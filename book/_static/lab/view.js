/* What the lab shows: controls, the readings and curves of both runs, and all numbers as a table. */
"use strict";

window.normtutorial.lab ??= {};

{
  const book = window.normtutorial, { lab, pieces: { html } } = book;
  const { line, number, percent } = lab;
  const label = (norm) => book.norms?.[norm]?.label ?? norm;
  const names = ({ norms }) => norms.map(label);
  const INSIDE_EVERY = 150, SAY_EVERY = 10000; // milliseconds

  const recent = ({ loss }) => {
    const last = loss.values.slice(-20);
    return last.reduce((a, b) => a + b, 0) / last.length;
  };

  function reading(run, by) {
    if (run.diverged !== null) return `diverged at step ${run.diverged}: its loss is no number any more`;
    if (!run.accuracies.length) return "";
    return `${percent(run.accuracies.at(-1)[1][by])} right${run.loss.values.length ? `, loss ${number(recent(run))}` : ""}`;
  }

  function fillTable(table, { runs, latest, settings, step }) {
    const rows = [
      ["mean loss of the last 20 steps", runs.map((run) => number(recent(run)))],
      ["right, running statistics", runs.map((run) => percent(run.accuracies.at(-1)[1].running))],
      ["right, the batch\u2019s own", runs.map((run) => percent(run.accuracies.at(-1)[1].batch))],
    ];
    const add = (text, of) => rows.push([text, latest.runs.map(of)]);
    for (let i = 0; i <= settings.depth; i++) {
      if (i < settings.depth) {
        add(`layer ${i + 1}: mean of what enters`, ({ layers }) => number(layers[i].mean));
        add(`layer ${i + 1}: its standard deviation`, ({ layers }) => number(layers[i].std));
        add(`layer ${i + 1}: units dead`, ({ layers }) => percent(layers[i].dead));
      }
      add(`layer ${i + 1}: gradient`, ({ gradients }) => number(gradients[i]));
    }
    const cells = (values, tag, attributes) => values.map((value) => html(tag, attributes, value));
    table.replaceChildren(html("caption", {}, `Step ${step}`),
      html("thead", {}, html("tr", {}, html("td"), ...cells(names(settings), "th", { scope: "col" }))),
      html("tbody", {}, ...rows.map(([text, values]) =>
        html("tr", {}, html("th", { scope: "row" }, text), ...cells(values, "td")))));
  }

  lab.view = (root, { small, change, play, more, again, look, choose }) => {
    let now = null, said = 0, seen = 0;
    const whole = (...nodes) => (small ? [] : nodes);
    const start = lab.button("Play", play);
    const norms = ["First run", "Second run"].map((text) => lab.list(text,
      Object.fromEntries(lab.NORMS.map((norm) => [norm, label(norm)])),
      () => change("norms", norms.map(({ input }) => input.value))));
    const readings = norms.map(() => html("span", { class: "lab-reading" }));
    const cards = norms.map(({ node }, i) => html("div", { class: `lab-card run-${i}` }, node, readings[i]));
    const status = html("p", { role: "status", class: "lab-status" });
    const loss = lab.chart("Training loss", "step", ["run-0", "run-1"]);
    const accuracy = lab.chart("Test images read correctly", "step", ["run-0", "run-1"]);
    const settable = Object.keys(lab.SETTINGS).filter((name) => name !== "pace");
    const controls = lab.controls(small ? ["lr"] : settable, change), pace = lab.controls(["pace"], change);
    const question = lab.list("Begin with a question", { "": "none: try what you like",
      ...Object.fromEntries(Object.entries(lab.PRESETS).map(([name, { title }]) => [name, title])) }, choose);
    const asked = html("div"), inside = lab.inside(look), table = html("table");
    const numbers = html("details", { ontoggle: () => draw(now) },
      html("summary", {}, "All numbers as a table"), html("div", { class: "demo-panel" }, table));

    const still = html("div", { class: "lab-still" }, ...root.childNodes);
    root.replaceChildren(
      html("div", { class: "lab-live" }, ...whole(question.node, asked),
        html("div", { class: "lab-cards" }, ...cards),
        html("div", { class: "demo-buttons" }, start,
          ...whole(lab.button("One step", more), lab.button("Start again", again), pace.node)),
        ...(small ? [controls.node] : []),
        still, html("div", { class: "lab-charts" }, loss.node, accuracy.node), status,
        ...whole(controls.node, inside.node, numbers),
        html("p", { class: "demo-origin" }, "Both networks begin with the same weights and see the same batches of 2000 synthetic digits, which were drawn with fonts and are not MNIST\u2019s; 500 others test them.")));

    function show(settings) {
      for (const part of [controls, pace, inside]) part.show(settings);
      settings.norms.forEach((norm, i) => {
        norms[i].input.value = norm;
        root.style.setProperty(`--run-${i}`, book.norms?.[norm]?.color ?? "#0072b2");
      });
    }

    function draw(state) {
      now = state;
      if (!state) return;
      const { step, settings, playing, runs, latest } = state, time = performance.now();
      root.classList.toggle("lab-begun", latest !== null);
      start.textContent = playing ? "Pause" : "Play";
      const words = runs.map((run) => reading(run, settings.evaluate));
      readings.forEach((node, i) => { node.textContent = words[i]; });
      const summary = `Step ${step}. ${names(settings).map((name, i) => `${name}: ${words[i]}`).join("; ")}.`;
      const x = [0, Math.max(small ? 400 : 100, step)], curves = runs.map((run) => run.loss.points(150));
      const tested = runs.map((run) => run.accuracies.map(([at, by]) => [at, by[settings.evaluate]]));
      const high = Math.max(10, ...curves.flat().map(([, value]) => Math.min(1e6, value)));
      const low = Math.min(0.1, ...curves.flat().map(([, value]) => Math.max(1e-4, value)));
      loss.draw({ x, y: [10 ** Math.floor(Math.log10(low)), 10 ** Math.ceil(Math.log10(high))], log: true },
        (X, Y) => curves.map((points) => line(points, X, Y)), summary);
      accuracy.draw({ x, y: [0, 1], percent: true }, (X, Y) => tested.map((points) => line(points, X, Y)), summary);
      if (!latest) return;
      if (!small && (!playing || time > seen + INSIDE_EVERY)) {
        seen = time;
        inside.draw(names(settings), latest.runs);
      }
      if (numbers.open) fillTable(table, state);
      if (!playing || time > said + SAY_EVERY) say(summary);
    }

    function say(text) {
      said = performance.now();
      if (status.textContent !== text) status.textContent = text;
    }

    const ask = (name, form) => {
      question.input.value = name ?? "";
      asked.replaceChildren(...(form ? [form] : []));
    };
    return { ask, draw, say, show };
  };
}
