/* Training: drawn weights, batches, optimizers, two runs side by side, and what a report says of them.
 *
 * One function, as network.js is, and for the same reason. The settings are those of settings.js.
 */
"use strict";

window.normtutorial.lab ??= {};

window.normtutorial.lab.training = ({ Network, SLOPES, crossEntropy }) => {
  const EVALUATE_EVERY = 20; // steps
  const BINS = 40, REACH = 4; // of the pictures of what enters an activation: from -REACH to REACH

  /* ---- the images ---- */

  /** Images of 196 numbers from 0 to 1, two of them in a byte (tools/lab_data.py), and their labels. */
  function decode({ pixels, train, test }) {
    const bytes = atob(pixels), x = new Float64Array(2 * bytes.length);
    for (let i = 0; i < bytes.length; i++) {
      const byte = bytes.charCodeAt(i);
      x[2 * i] = (byte >> 4) / 15;
      x[2 * i + 1] = (byte & 15) / 15;
    }
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
  const byClass = (labels) => range(labels.length).sort((a, b) => labels[a] - labels[b] || a - b);

  /** Batches without end: each pass shuffled anew, or sorted by class; a last small one is left out. */
  class Batches {
    constructor(labels, seed) {
      this.sorted = byClass(labels);
      this.next01 = uniform(2 * seed + 1);
      this.left = [];
    }

    shuffled() {
      const order = range(this.sorted.length);
      for (let i = order.length - 1; i > 0; i--) {
        const j = Math.floor(this.next01() * (i + 1));
        [order[i], order[j]] = [order[j], order[i]];
      }
      return order;
    }

    next(size, order) {
      if (this.left.length < size || this.order !== order) {
        this.left = order === "sorted" ? this.sorted.slice() : this.shuffled();
        this.order = order;
      }
      return this.left.splice(0, size);
    }
  }

  /* ---- optimizers: one step of one parameter, with torch's constants ---- */

  const OPTIMIZERS = {
    sgd({ value, grad }, lr) {
      for (let i = 0; i < value.length; i++) value[i] -= lr * grad[i];
    },
    momentum(parameter, lr) {
      const { value, grad } = parameter;
      const velocity = parameter.velocity ??= new Float64Array(value.length);
      for (let i = 0; i < value.length; i++) {
        velocity[i] = 0.9 * velocity[i] + grad[i];
        value[i] -= lr * velocity[i];
      }
    },
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
      this.norm = norm;
      this.network = new Network(weights, sizes, norm, activation);
      this.diverged = null; // the step whose loss was no number any more
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
      const running = this.accuracy(test, range(test.labels.length), 125, false, alive);
      const served = order === "sorted" ? byClass(test.labels) : range(test.labels.length);
      const own = this.norm === "batch" ? this.accuracy(test, served, batch_size, true) : running;
      this.dead = alive.map((units) => 1 - units.reduce((a, b) => a + b) / units.length);
      return { running, batch: own };
    }
  }

  /* ---- what a report says of a layer ---- */

  function distribution(x) {
    const counts = new Array(BINS).fill(0);
    let sum = 0, squares = 0;
    for (const value of x) {
      const bin = Math.floor((value + REACH) / (2 * REACH) * BINS);
      counts[Math.max(0, Math.min(BINS - 1, bin || 0))] += 1 / x.length; // at the edges what is beyond them
      sum += value;
      squares += value * value;
    }
    const mean = sum / x.length;
    return { counts, mean, std: Math.sqrt(Math.max(0, squares / x.length - mean * mean)) };
  }

  /** Quantiles of each unit over the batch: 5, 25, 50, 75 and 95 percent. */
  function unitQuantiles(x, units) {
    const count = x.length / units;
    return range(units).map((unit) => {
      const values = new Float64Array(count).map((_, n) => x[n * units + unit]).sort();
      return [0.05, 0.25, 0.5, 0.75, 0.95].map((q) => {
        const at = q * (count - 1), low = Math.floor(at);
        return values[low] + (at - low) * ((values[low + 1] ?? values[low]) - values[low]);
      });
    });
  }

  const rms = (x) => Math.sqrt(x.reduce((a, b) => a + b * b, 0) / x.length);

  function describe({ network, records, dead }, looked) {
    const hidden = network.layers.slice(0, -1);
    const { running, units } = hidden[looked];
    const { entering, mean, variance } = records[looked];
    const root = (values) => Array.from(values, Math.sqrt);
    return {
      layers: hidden.map((_, i) => ({ ...distribution(records[i].entering), dead: dead[i] })),
      gradients: records.map(({ grad }) => rms(grad)),
      lengths: records.map(({ weight }) => rms(weight)),
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
      this.digits = digits;
      this.settings = { ...settings };
      const { depth, width, activation, scale, seed, norms } = settings;
      const sizes = [digits.train.size, ...new Array(depth).fill(width), 10];
      this.runs = norms.map((norm) => new Run(norm, drawWeights(sizes, scale, seed), sizes, activation));
      this.batches = new Batches(digits.train.labels, seed);
      this.steps = 0;
      const first = gather(digits.train, new Batches(digits.train.labels, seed).next(settings.batch_size, settings.order));
      for (const run of this.runs) run.look(first);
      this.forget();
      this.evaluate();
    }

    get over() { return this.runs.every(({ diverged }) => diverged !== null); }

    forget() { this.news = this.runs.map(() => ({ loss: [], accuracy: [] })); }

    evaluate() {
      this.runs.forEach((run, i) => {
        if (run.diverged === null) this.news[i].accuracy.push([this.steps, run.evaluate(this.digits.test, this.settings)]);
      });
    }

    step() {
      const batch = gather(this.digits.train, this.batches.next(this.settings.batch_size, this.settings.order));
      this.runs.forEach((run, i) => {
        if (run.diverged !== null) return;
        const loss = run.step(batch, this.settings);
        if (Number.isFinite(loss)) this.news[i].loss.push(loss);
        else run.diverged = this.steps;
      });
      this.steps += 1;
      if (this.steps % EVALUATE_EVERY === 0) this.evaluate();
    }

    change(settings) {
      Object.assign(this.settings, settings);
      if ("order" in settings || "batch_size" in settings) this.evaluate(); // batches are others now
    }

    /** What has happened since the last report, and how the networks look now. */
    report(looked) {
      const runs = this.runs.map((run, i) => (
        { norm: run.norm, diverged: run.diverged, ...this.news[i], ...describe(run, looked) }));
      this.forget();
      return { step: this.steps, runs };
    }
  }

  return { BINS, EVALUATE_EVERY, OPTIMIZERS, REACH, Run, Training, decode, drawWeights };
};
