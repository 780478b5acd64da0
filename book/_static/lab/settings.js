/* What can be set in the lab, and how a situation stands in the address: #lab?depth=8&lr=0.3 */
"use strict";

window.normtutorial.lab ??= {};

{
  const { lab } = window.normtutorial;
  const steps = (from, to, by) => Array.from({ length: Math.round((to - from) / by) + 1 }, (_, i) => from + i * by);
  const powers = (from, to, by) => steps(from, to, by).map((e) => Number((10 ** e).toPrecision(2)));

  /* Each setting with its label, its values and the one to begin with. `live` acts on running networks;
     the others start them anew. */
  lab.SETTINGS = {
    lr: { label: "Learning rate", values: powers(-4, 1, 0.1), start: 0.1, live: true },
    batch_size: { label: "Batch size", values: [2, 4, 8, 16, 32, 64, 128], start: 32, live: true },
    depth: { label: "Hidden layers", values: steps(1, 8, 1), start: 3 },
    width: { label: "Units in each", values: steps(8, 64, 8), start: 32 },
    scale: { label: "First weights, times He\u2019s", values: powers(-2, 2, 0.1), start: 1 },
    momentum: { label: "Batch norm\u2019s momentum", values: powers(-3, 0, 0.5), start: 0.1, live: true },
    activation: { label: "Activation", texts: { relu: "ReLU", tanh: "tanh", sigmoid: "sigmoid" } },
    optimizer: { label: "Optimizer", texts: { sgd: "SGD", momentum: "SGD with momentum", adam: "Adam" } },
    order: { label: "Batches", live: true, texts: { shuffled: "shuffled", sorted: "sorted by class" } },
    evaluate: {
      label: "Batch norm is tested with", live: true,
      texts: { running: "running statistics", batch: "the batch\u2019s own" },
    },
    pace: { label: "Steps a second", live: true, texts: { steady: "60", slow: "10", full: "all it can" } },
    seed: { label: "Seed", values: steps(0, 99, 1), start: 0 },
  };
  lab.NORMS = ["none", "batch", "layer", "rms", "weight"];
  for (const one of Object.values(lab.SETTINGS)) {
    if (one.texts) Object.assign(one, { values: Object.keys(one.texts), start: Object.keys(one.texts)[0] });
  }

  /** Settings that are sound: what is missing or unknown is as at the beginning. */
  lab.settings = (given = {}) => {
    const sound = (name, { values, start, texts }) => {
      if (texts) return values.includes(String(given[name])) ? String(given[name]) : start;
      const value = Number(given[name] ?? start), whole = values.every(Number.isInteger);
      const within = value >= values[0] && value <= values.at(-1) && (!whole || Number.isInteger(value));
      return within ? value : start;
    };
    const norms = [].concat(given.norms ?? []);
    return {
      norms: norms.length === 2 && norms.every((norm) => lab.NORMS.includes(norm)) ? norms : ["none", "batch"],
      ...Object.fromEntries(Object.entries(lab.SETTINGS).map(([name, one]) => [name, sound(name, one)])),
    };
  };

  /** The part of an address after #lab?, or what it says. A preset stands for its settings. */
  lab.write = (settings, preset) => {
    const start = lab.settings();
    const other = Object.entries(settings).filter(([name, value]) =>
      (preset ? name === "seed" : true) && String(value) !== String(start[name]));
    return `#lab?${new URLSearchParams([...(preset ? [["preset", preset]] : []), ...other])}`.replaceAll("%2C", ",");
  };
  lab.read = (hash) => {
    if (!hash.startsWith("#lab?")) return null;
    const given = Object.fromEntries(new URLSearchParams(hash.slice(5)));
    return given.norms ? { ...given, norms: given.norms.split(",") } : given;
  };
}
