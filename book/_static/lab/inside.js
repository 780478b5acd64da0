/* What goes on inside the two networks: distributions, gradients, and what batch norm remembers. */
"use strict";

window.normtutorial.lab.inside = (part) => {
const { lab, pieces: { roundUp } } = window.normtutorial;
const { dots, line, number, percent, whiskers } = lab;
const span = (values) => `from ${number(Math.min(...values))} to ${number(Math.max(...values))}`;
const numbered = (values) => values.map((value, i) => [i + 1, value]);

/** Round limits around 0 and all values, and a place on the other axis for each unit. */
function around(values, units) {
  const reach = roundUp(Math.max(1, ...values.filter(Number.isFinite).map(Math.abs)));
  return { x: [0.5, units + 0.5], y: [-reach, reach] };
}

const looked = part("looked"), memory = part("memory"), drawMemory = lab.chart(memory);
const layers = [...part("layers").children].map((row) => [...row.querySelectorAll("div")]);
const drawRun = [0, 1].map((i) => lab.chart(part(`units-${i}`))), drawGradients = lab.chart(part("gradients"));

/** As many layers as the networks have. */
function show({ depth }) {
  layers.forEach(([{ parentNode }], i) => { parentNode.hidden = i >= depth; });
  [...looked.options].forEach((option, i) => { option.disabled = i >= depth; });
  looked.value = Math.min(looked.value, depth);
}

function drawUnits(draw, name, quantiles, axes) {
  const medians = quantiles.map((q) => q[2]), ends = (low, high) => quantiles.map((q, i) => [i + 1, q[low], q[high]]);
  draw({ ...axes, title: `Layer ${looked.value}, ${name}: what enters each unit` },
    (X, Y) => [whiskers(ends(0, 4), X, Y), whiskers(ends(1, 3), X, Y), dots(numbered(medians), X, Y)],
    `Medians ${span(medians)}`);
}

function draw(names, runs) {
  runs[0].layers.forEach((_, depth) => layers[depth].forEach((cell, i) => {
    const { counts, mean, std, dead } = runs[i].layers[depth];
    cell.lastChild.textContent = `std ${number(std)}, ${percent(dead)} dead`;
    lab.histogram(cell.firstChild, counts,
      `${names[i]}, layer ${depth + 1}: mean ${number(mean)}, standard deviation ${number(std)}`);
  }));
  const axes = around(runs.flatMap((run) => run.units.flat()), runs[0].units.length);
  drawRun.forEach((draw, i) => drawUnits(draw, names[i], runs[i].units, axes));
  const sizes = runs.map((run) => run.gradients), points = sizes.map(numbered);
  drawGradients({ x: [1, sizes[0].length], y: lab.decades(sizes.flat()), log: true },
    (X, Y) => [...points.map((one) => dots(one, X, Y)), ...points.map((one) => line(one, X, Y))],
    sizes.map((one, i) => `${names[i]}: from ${number(one[0])} to ${number(one.at(-1))}`).join("; "));
  const { batch, running } = runs.find((run) => run.statistics)?.statistics ?? {};
  memory.toggleAttribute("hidden", !batch);
  if (!batch) return;
  drawMemory(around([batch, running].flatMap(({ mean, std }) => [...mean, ...std]), batch.mean.length),
    (X, Y) => ["mean", "std"].flatMap((what) => [dots(numbered(batch[what]), X, Y), line(numbered(running[what]), X, Y)]),
    `Means ${span(batch.mean)}, running ${span(running.mean)}; deviations ${span(batch.std)}, running ${span(running.std)}`);
}

return { show, draw };
};
