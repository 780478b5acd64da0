/* What goes on inside the two networks: distributions, gradients, and what batch norm remembers. */
"use strict";

window.normtutorial.lab ??= {};

{
  const { lab, pieces: { html, range } } = window.normtutorial;
  const { dots, line, number, percent, whiskers } = lab;
  const numbered = (values) => values.map((value, i) => [i + 1, value]);

  /** The first of 1, 2, 5, 10, 20, ... that is not below any value. */
  function reach(values) {
    const most = Math.max(1, ...values.filter(Number.isFinite)), power = 10 ** Math.floor(Math.log10(most));
    return [1, 2, 5, 10].map((m) => m * power).find((m) => m >= most);
  }

  /** Powers of ten around positive numbers. */
  function decades(values) {
    const logs = values.filter((v) => v > 0 && v < Infinity).map(Math.log10);
    return logs.length ? [10 ** Math.floor(Math.min(...logs)), 10 ** Math.ceil(Math.max(...logs) + 0.01)] : [0.1, 1];
  }

  lab.inside = (look) => {
    let histograms = [], looked = 0;
    const layers = html("div", { class: "lab-layers" });
    const layer = lab.list("Layer", {}, (value) => { looked = Number(value); look(looked); });
    const units = [0, 1].map((i) => lab.chart("", "unit", [`run-${i} outer`, `run-${i} inner`, "median"]));
    const gradients = lab.chart("Gradient of the weights, root mean square", "layer",
      ["run-0 dots", "run-1 dots", "run-0", "run-1"]);
    const memory = lab.chart("Batch norm: batch (dots), running (lines)", "unit", ["mean dots", "mean", "std dots", "std"]);

    function show({ depth }) {
      looked = Math.min(looked, depth - 1);
      if (histograms.length === depth) return;
      layer.input.replaceChildren(...range(depth).map((i) => html("option", { value: i }, i + 1)));
      layer.input.value = looked;
      histograms = range(depth).map(() => [0, 1].map((i) => ({ ...lab.histogram(`run-${i} area`), text: html("span") })));
      layers.replaceChildren(...histograms.map((pair, i) => html("div", { class: "lab-layer" },
        html("span", {}, `layer ${i + 1}`), ...pair.map(({ node, text }) => html("div", {}, node, text)))));
    }

    function drawUnits(chart, name, quantiles, most) {
      const medians = quantiles.map((q) => q[2]), ends = (low, high) => quantiles.map((q, i) => [i + 1, q[low], q[high]]);
      chart.name(`Layer ${looked + 1}, ${name}: what enters each unit`);
      chart.draw({ x: [0.5, quantiles.length + 0.5], y: [-most, most], whole: true },
        (X, Y) => [whiskers(ends(0, 4), X, Y), whiskers(ends(1, 3), X, Y), dots(numbered(medians), X, Y)],
        `Medians from ${number(Math.min(...medians))} to ${number(Math.max(...medians))}`);
    }

    function drawMemory({ batch, running }) {
      const values = [batch, running].flatMap(({ mean, std }) => [...mean, ...std]), most = reach(values.map(Math.abs));
      memory.draw({ x: [0.5, batch.mean.length + 0.5], y: [-most, most], whole: true },
        (X, Y) => ["mean", "std"].flatMap((what) => [dots(numbered(batch[what]), X, Y), line(numbered(running[what]), X, Y)]),
        "Means in blue, standard deviations in orange");
    }

    function draw(names, runs) {
      histograms.forEach((pair, depth) => pair.forEach(({ draw, text }, i) => {
        const { counts, mean, std, dead } = runs[i].layers[depth];
        text.textContent = `std ${number(std)}, ${percent(dead)} dead`;
        draw(counts, `${names[i]}, layer ${depth + 1}: mean ${number(mean)}, standard deviation ${number(std)}`);
      }));
      const most = reach(runs.flatMap((run) => run.units.flat().map(Math.abs)));
      units.forEach((chart, i) => drawUnits(chart, names[i], runs[i].units, most));
      const sizes = runs.map((run) => run.gradients), points = sizes.map(numbered);
      gradients.draw({ x: [1, sizes[0].length], y: decades(sizes.flat()), whole: true, log: true },
        (X, Y) => [...points.map((one) => dots(one, X, Y)), ...points.map((one) => line(one, X, Y))],
        sizes.map((one, i) => `${names[i]}: from ${number(one[0])} to ${number(one.at(-1))}`).join("; "));
      const { statistics } = runs.find((run) => run.statistics) ?? {};
      memory.node.toggleAttribute("hidden", !statistics);
      if (statistics) drawMemory(statistics);
    }

    const node = html("div", {}, html("h2", {}, "Inside"),
      html("p", {}, "What enters the activation, layer by layer, from \u22124 to 4; what is beyond stands at the edges."),
      layers, layer.node,
      html("div", { class: "lab-charts" }, ...units.map((chart) => chart.node), gradients.node, memory.node));
    return { node, show, draw };
  };
}
