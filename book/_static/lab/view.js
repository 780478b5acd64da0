/* What the lab shows: the readings and curves of both runs, what is inside, and all numbers as a table. */
"use strict";

window.normtutorial.lab.view = (root, small) => {
const { lab } = window.normtutorial;
const { line, number, percent } = lab;
const INSIDE_EVERY = 150, SAY_EVERY = 10000; // milliseconds

function reading(run, by) {
  if (run.diverged !== null) return `diverged at step ${run.diverged}: its loss is no number any more`;
  if (!run.accuracies.length) return "";
  return `${percent(run.right(by))} right${run.loss.length ? `, loss ${number(run.recent)}` : ""}`;
}

/** What stands in a row of the table, by its kind. */
const CELLS = {
  loss: (run) => number(run.recent),
  running: (run) => percent(run.right()),
  batch: (run) => percent(run.right("batch")),
  mean: ({ now }, layer) => number(now.layers[layer].mean),
  std: ({ now }, layer) => number(now.layers[layer].std),
  dead: ({ now }, layer) => percent(now.layers[layer].dead),
  gradient: ({ now }, layer) => number(now.gradients[layer]),
};

function fillTable({ caption, tHead, tBodies }, { runs, settings, step }, names) {
  caption.textContent = `Step ${step}`;
  names.forEach((name, i) => { tHead.rows[0].cells[i + 1].textContent = name; });
  for (const row of tBodies[0].rows) {
    const { kind, layer = 0 } = row.dataset;
    row.hidden = layer > settings.depth - (kind !== "gradient");
    if (!row.hidden) runs.forEach((run, i) => { row.cells[i + 1].textContent = CELLS[kind](run, layer); });
  }
}

const part = (name) => root.querySelector(`.lab-${name}`), all = (name) => [...root.querySelectorAll(name)];
const numbers = part("numbers"), status = part("status"), readings = all(".lab-reading"), norms = all("[name=norms]");
const drawLoss = lab.chart(part("loss")), drawAccuracy = lab.chart(part("accuracy")), inside = lab.inside(part);
let now = null, said = 0, seen = 0;
numbers.addEventListener("toggle", () => draw(now));

const names = () => norms.map((list) => list.selectedOptions[0].text);

function show(settings) {
  inside.show(settings);
  norms.forEach((list, i) => root.style.setProperty(`--run-${i}`, list.selectedOptions[0].dataset.color));
}

function drawCurves({ step, settings, runs }, summary) {
  const x = [0, Math.max(small ? 400 : 100, step)], curves = runs.map((run) => run.curve(150));
  const tested = runs.map((run) => run.accuracies.map(([at, by]) => [at, by[settings.evaluate]]));
  const losses = curves.flat().map(([, value]) => value);
  const y = lab.decades([0.1, 10, ...losses.map((value) => Math.max(1e-4, Math.min(1e6, value)))]);
  drawLoss({ x, y, log: true }, (X, Y) => curves.map((points) => line(points, X, Y)), summary);
  drawAccuracy({ x, y: [0, 1], label: percent }, (X, Y) => tested.map((points) => line(points, X, Y)), summary);
}

function draw(state) {
  now = state;
  if (!state) return;
  const { step, settings, playing, runs } = state, time = performance.now();
  root.classList.toggle("lab-begun", runs[0].now !== null);
  part("play").textContent = playing ? "Pause" : "Play";
  const words = runs.map((run) => reading(run, settings.evaluate));
  readings.forEach((node, i) => { node.textContent = words[i]; });
  const summary = `Step ${step}. ${names().map((name, i) => `${name}: ${words[i]}`).join("; ")}.`;
  drawCurves(state, summary);
  if (!runs[0].now) return;
  if (!small && (!playing || time > seen + INSIDE_EVERY)) {
    seen = time;
    inside.draw(names(), runs.map(({ now }) => now));
  }
  if (numbers.open) fillTable(numbers.querySelector("table"), state, names());
  if (!playing || time > said + SAY_EVERY) say(summary);
}

function say(text) {
  said = performance.now();
  if (status.textContent !== text) status.textContent = text;
}

return { draw, names, part, say, show };
};
