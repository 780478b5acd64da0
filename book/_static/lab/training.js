/* Training: drawn weights, batches, optimizers, two runs side by side, and what a report says of them.
 *
 * One function, as network.js is, and for the same reason.
 */
"use strict";

window.normtutorial.lab.training = ({ Network, SLOPES, crossEntropy, moments }) => {
const EVALUATE_EVERY = 20; // steps
const BINS = 40, REACH = 4; // of the pictures of what enters an activation: from -REACH to REACH

/* ---- the images ---- */

/** Images of 196 numbers from 0 to 1, two of them in a byte (tools/lab_data.py), and their labels. */
function decode({ pixels, train, test }) {
  const shades = [...atob(pixels)].map((two) => two.charCodeAt()).flatMap((byte) => [byte >> 4, byte & 15]);
  const x = Float64Array.from(shades, (shade) => shade / 15);
  const size = x.length / (train.length + test.length);
  const set = (from, labels) => ({
    images: x.subarray(from * size, (from + labels.length) * size), labels: [...labels].map(Number), size,
  });
  return { train: set(0, train), test: set(train.length, test) };
}

/** The chosen images of a set, one after the other. */
function gather({ images, labels, size }, chosen) {
  const x = new Float64Array(chosen.length * size);
  chosen.forEach((n, i) => x.set(images.subarray(n * size, (n + 1) * size), i * size));
  return { x, labels: chosen.map((n) => labels[n]) };
}

/* ---- chance, from a seed ---- */

/** Numbers from 0 to 1 (Mulberry32, by Tommy Ettinger). */
function uniform(seed) {
  let state = Math.imul(seed + 1, 0x9e3779b1);
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** He's weights, N(0, 2 / inputs), times a scale. */
function drawWeights(sizes, scale, seed) {
  const next = uniform(2 * seed);
  const normal = () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());
  return sizes.slice(1).map((units, i) => {
    const std = scale * Math.sqrt(2 / sizes[i]);
    return new Float64Array(units * sizes[i]).map(() => std * normal());
  });
}

const range = (count) => Array.from({ length: count }, (_, i) => i);
const byClass = (labels) => range(labels.length).sort((a, b) => labels[a] - labels[b]);

function shuffled(count, random) {
  const order = range(count);
  for (let i = count - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}

/** Batches without end: each pass shuffled anew, or sorted by class; a last small one is left out. */
class Batches {
  constructor(labels, seed) { Object.assign(this, { sorted: byClass(labels), random: uniform(2 * seed + 1), left: [] }); }

  next(size, order) {
    if (this.left.length < size || this.order !== order) {
      this.left = order === "sorted" ? this.sorted.slice() : shuffled(this.sorted.length, this.random);
      this.order = order;
    }
    return this.left.splice(0, size);
  }
}

/* ---- optimizers: one step of one parameter, with torch's constants ---- */

function descend(parameter, lr, momentum) {
  const { value, grad } = parameter, velocity = parameter.velocity ??= new Float64Array(value.length);
  for (let i = 0; i < value.length; i++) {
    velocity[i] = momentum * velocity[i] + grad[i];
    value[i] -= lr * velocity[i];
  }
}

const OPTIMIZERS = {
  sgd: (parameter, lr) => descend(parameter, lr, 0),
  momentum: (parameter, lr) => descend(parameter, lr, 0.9),
  adam(parameter, lr) {
    const { value, grad } = parameter, [beta1, beta2] = [0.9, 0.999];
    const adam = parameter.adam ??= { step: 0, m: new Float64Array(value.length), v: new Float64Array(value.length) };
    adam.step += 1;
    const [c1, c2] = [1 - beta1 ** adam.step, 1 - beta2 ** adam.step];
    for (let i = 0; i < value.length; i++) {
      adam.m[i] += (1 - beta1) * (grad[i] - adam.m[i]);
      adam.v[i] = beta2 * adam.v[i] + (1 - beta2) * grad[i] * grad[i];
      value[i] -= lr / c1 * adam.m[i] / (Math.sqrt(adam.v[i] / c2) + 1e-8);
    }
  },
};

/* ---- one network in training ---- */

class Run {
  constructor(norm, weights, sizes, activation) {
    this.network = new Network(weights, sizes, norm, activation);
    this.diverged = null; // the step whose loss was no number any more
    this.news = { loss: [], accuracy: [] }; // since the last report
  }

  /** Forward and backward, without a step. */
  look({ x, labels }, momentum = 0) {
    this.records = this.network.forward(x, true, momentum);
    const { loss, grad } = crossEntropy(this.records.at(-1).entering, labels);
    this.network.backward(this.records, grad);
    return loss;
  }

  /** One step; returns the loss before it. */
  step(batch, { optimizer, lr, momentum }) {
    const loss = this.look(batch, momentum);
    if (Number.isFinite(loss)) for (const one of this.network.parameters) OPTIMIZERS[optimizer](one, lr);
    return loss;
  }

  /** The share of images that is read correctly, batch by batch; `alive` learns which units answer. */
  accuracy(set, order, size, training, alive = null) {
    const slope = SLOPES[this.network.activation];
    let correct = 0;
    for (let from = 0; from < order.length; from += size) {
      const { x, labels } = gather(set, order.slice(from, from + size));
      const records = this.network.forward(x, training);
      correct += crossEntropy(records.at(-1).entering, labels).correct;
      alive?.forEach((units, i) => records[i].y.forEach((y, at) => {
        if (slope(y) > 0.01) units[at % units.length] = 1;
      }));
    }
    return correct / order.length;
  }

  /** Accuracy with the running statistics and, for batch norm, with those of each batch of test images. */
  evaluate(test, { batch_size, order }) {
    const alive = this.network.layers.slice(0, -1).map(({ units }) => new Uint8Array(units));
    const all = range(test.labels.length), served = order === "sorted" ? byClass(test.labels) : all;
    const running = this.accuracy(test, all, 125, false, alive);
    const own = this.network.norm === "batch" ? this.accuracy(test, served, batch_size, true) : running;
    this.dead = alive.map((units) => 1 - units.reduce((a, b) => a + b) / units.length);
    return { running, batch: own };
  }
}

/* ---- what a report says of a layer ---- */

function distribution(x) {
  const counts = new Array(BINS).fill(0);
  for (const value of x) {
    const bin = Math.floor((value + REACH) / (2 * REACH) * BINS);
    counts[Math.max(0, Math.min(BINS - 1, bin || 0))] += 1 / x.length; // at the edges what is beyond them
  }
  const { mean, variance } = moments(x, { sets: 1, size: x.length, first: 0, next: 1 });
  return { counts, mean: mean[0], std: Math.sqrt(variance[0]) };
}

/** Quantiles of each unit over the batch: 5, 25, 50, 75 and 95 percent. */
function unitQuantiles(x, units) {
  const count = x.length / units;
  return range(units).map((unit) => {
    const values = new Float64Array(count).map((_, n) => x[n * units + unit]).sort();
    return [0.05, 0.25, 0.5, 0.75, 0.95].map((share) => values[Math.round(share * (count - 1))]);
  });
}

const rms = (x) => Math.sqrt(x.reduce((a, b) => a + b * b, 0) / x.length);

/** `looked`: the layer, from 1, that is shown unit by unit. */
function describe({ network, records, dead }, looked) {
  const hidden = network.layers.slice(0, -1), at = Math.min(looked, hidden.length) - 1;
  const { running, units } = hidden[at], { entering, mean, variance } = records[at];
  const root = (values) => Array.from(values, Math.sqrt);
  return {
    layers: hidden.map((_, i) => ({ ...distribution(records[i].entering), dead: dead[i] })),
    gradients: records.map(({ grad }) => rms(grad)),
    units: unitQuantiles(entering, units),
    statistics: running && {
      batch: { mean: [...mean], std: root(variance) },
      running: { mean: [...running.mean], std: root(running.variance) },
    },
  };
}

/* ---- the runs side by side ---- */

class Training {
  constructor(digits, settings) {
    const { depth, width, activation, scale, seed, norms } = settings, { train } = digits;
    const sizes = [train.size, ...new Array(depth).fill(width), 10];
    Object.assign(this, { digits, settings, steps: 0, batches: new Batches(train.labels, seed) });
    this.runs = norms.map((norm) => new Run(norm, drawWeights(sizes, scale, seed), sizes, activation));
    const first = this.next(new Batches(train.labels, seed));
    for (const run of this.runs) run.look(first);
    this.evaluate();
  }

  /** The runs that have not diverged. */
  get sound() { return this.runs.filter(({ diverged }) => diverged === null); }

  next(batches) { return gather(this.digits.train, batches.next(this.settings.batch_size, this.settings.order)); }

  evaluate() {
    for (const run of this.sound) run.news.accuracy.push([this.steps, run.evaluate(this.digits.test, this.settings)]);
  }

  step() {
    const batch = this.next(this.batches);
    for (const run of this.sound) {
      const loss = run.step(batch, this.settings);
      if (Number.isFinite(loss)) run.news.loss.push([this.steps, loss]);
      else run.diverged = this.steps;
    }
    this.steps += 1;
    if (this.steps % EVALUATE_EVERY === 0) this.evaluate();
  }

  change(settings) {
    Object.assign(this.settings, settings);
    if ("order" in settings || "batch_size" in settings) this.evaluate(); // batches are others now
  }

  /** What has happened since the last report, and how the networks look now. */
  report() {
    const runs = this.runs.map((run) => ({ diverged: run.diverged, ...run.news, ...describe(run, this.settings.looked) }));
    for (const run of this.runs) run.news = { loss: [], accuracy: [] };
    return { step: this.steps, runs };
  }
}

return { Run, Training, decode };
};
