/* Questions to begin with. Each has settings, a number to measure after some steps, and choices in rising
 * order, of which the cuts of that number say which is right. tests/web tries them at ten seeds. */
"use strict";

window.normtutorial.lab ??= {};

{
  const { lab } = window.normtutorial, { percent } = lab;
  const right = (run, by = "running") => run.accuracies.at(-1)[1][by];
  const both = ([a, b]) => `${percent(right(a))} without, ${percent(right(b))} with it`;
  const ways = ([, run]) => `${percent(right(run))} with the running statistics, ${percent(right(run, "batch"))} with the batch\u2019s own`;
  const lead = [
    "The running statistics, by 5 points or more", "Neither by 5 points", "The batch\u2019s own, by 5 points or more",
  ];
  const ownLead = ([, run]) => right(run, "batch") - right(run);

  lab.PRESETS = {
    signals: {
      title: "Eight layers at a bad scale", steps: 400, settings: { depth: 8, scale: 0.32 },
      ask: "Eight hidden layers, and all first weights a third as long as He\u2019s. How many test images does the plain network read after 400 steps?",
      choices: ["Less than 20 %: no more than chance", "20 to 50 %", "More than 50 %"], cuts: [0.2, 0.5],
      measure: ([plain]) => right(plain), said: both,
    },
    batch_norm: {
      title: "Sigmoids, four deep", steps: 400, settings: { depth: 4, activation: "sigmoid", lr: 0.5 },
      ask: "Batch norm keeps what enters a sigmoid in the middle of its range. How far ahead is it after 400 steps?",
      choices: ["Not by 10 points", "By 10 to 40 points", "By more than 40 points"], cuts: [0.1, 0.4],
      measure: ([plain, batch]) => right(batch) - right(plain), said: both,
    },
    running_statistics: {
      title: "A slow memory", steps: 100, settings: { momentum: 0.001, depth: 5, norms: ["layer", "batch"] },
      ask: "With a momentum of 0.001, running statistics forget their start in a thousand batches. With which statistics does batch norm read more test images after 100?",
      choices: lead, cuts: [-0.05, 0.05], measure: ownLead, said: ways,
    },
    sorted: {
      title: "A sorted test set", steps: 300, settings: { norms: ["layer", "batch"] }, then: { order: "sorted" },
      ask: "Batch norm has learned from shuffled batches. Now the test images come sorted by class, and each batch is normalized by its own statistics. How many does it still read?",
      choices: ["Less than 40 %", "40 to 65 %", "More than 65 %"], cuts: [0.4, 0.65],
      measure: ([, run]) => right(run, "batch"), said: ways,
    },
    layer_norm: {
      title: "Batches of two", steps: 400, settings: { norms: ["layer", "batch"], batch_size: 2, lr: 0.02 },
      ask: "Of two images, each unit of batch norm sees which one has more. How far ahead is layer norm after 400 steps?",
      choices: ["It is not ahead", "By up to 15 points", "By more than 15 points"], cuts: [0, 0.15],
      measure: ([layer, batch]) => right(layer) - right(batch),
      said: ([layer, batch]) => `${percent(right(layer))} with layer norm, ${percent(right(batch))} with batch norm`,
    },
    weight_norm: {
      title: "A large rate", steps: 300, settings: { norms: ["none", "weight"], lr: 0.2, optimizer: "momentum" },
      ask: "Momentum, and a rate of 0.2, which is large for this network. What does weight norm make of it?",
      choices: ["It falls behind", "Up to 10 points more", "More than 10 points more"], cuts: [0, 0.1],
      measure: ([plain, weight]) => right(weight) - right(plain), said: both,
    },
    comparison: {
      title: "A rate that breaks one of the two", steps: 200, settings: { lr: 2 },
      ask: "A rate of 2, twenty times the usual one. Who reads more than 40 % of the test images after 200 steps?",
      choices: ["Neither", "Batch norm alone", "Both"], cuts: [1, 2],
      measure: (runs) => runs.filter((run) => right(run) > 0.4).length, said: both,
    },
    scale_invariance: {
      title: "Weights ten times as long", steps: 200, settings: { scale: 10 },
      ask: "With usual weights batch norm reads more than 70 % after 200 steps. Now all first weights are ten times as long, and the norm takes that out of every layer but the last. What does it read?",
      choices: ["Less than 12 %: no more than chance", "12 to 60 %: it learns, but slowly", "More than 60 %: the norm takes it out"],
      cuts: [0.12, 0.6], measure: ([, batch]) => right(batch), said: both,
    },
    batch_size: {
      title: "Batches of four", steps: 600, settings: { norms: ["layer", "batch"], batch_size: 4, lr: 0.05 },
      ask: "Batch norm learns from batches of four. With which statistics does it read more test images?",
      choices: lead, cuts: [-0.05, 0.05], measure: ownLead, said: ways,
    },
  };

  /** Which choice is right, from the runs as they are now, and in words what was measured. */
  lab.answer = ({ measure, cuts, said }, runs) =>
    ({ right: cuts.filter((cut) => measure(runs) >= cut).length, said: `${said(runs)}.` });
}
