/* A small network: forward, loss and backward, in closed form, to be read beside functional.py.
 *
 * Numbers lie row by row in a Float64Array: x[n * features + i] is feature i of image n, and a weight
 * has a row for each output, as in torch. Each backward takes the gradient of what its forward gave.
 *
 * The whole file is one function, since a worker is made from its text (worker.js).
 */
"use strict";

window.normtutorial.lab.network = () => {
const EPS = { batch: 1e-5, layer: 1e-5, rms: Number.EPSILON }; // torch's defaults, in float64
const zeros = (count) => new Float64Array(count);

/* ---- linear: y = x Wᵀ + b ---- */

/** Where a row has numbers that are not zero: in a third of an image, in half of what a ReLU gives. */
function nonzero(x, from, inputs, at) {
  let count = 0;
  for (let i = from; i < from + inputs; i++) if (x[i] !== 0) at[count++] = i - from;
  return count;
}

function linear(x, weight, bias) {
  const outputs = bias.length, inputs = weight.length / outputs, images = x.length / inputs;
  const y = zeros(images * outputs), at = new Int32Array(inputs);
  for (let n = 0; n < images; n++) {
    const from = n * inputs, count = nonzero(x, from, inputs, at);
    for (let o = 0; o < outputs; o++) {
      let sum = bias[o];
      for (let k = 0; k < count; k++) sum += x[from + at[k]] * weight[o * inputs + at[k]];
      y[n * outputs + o] = sum;
    }
  }
  return y;
}

/** `first`: the layer that sees the images, whose gradient nobody wants. */
function linearBackward(grad, x, weight, outputs, first = false) {
  const inputs = weight.length / outputs, images = x.length / inputs, at = new Int32Array(inputs);
  const into = { weight: zeros(weight.length), bias: zeros(outputs), x: zeros(first ? 0 : x.length) };
  for (let n = 0; n < images; n++) {
    const from = n * inputs, count = nonzero(x, from, inputs, at);
    for (let o = 0; o < outputs; o++) {
      const g = grad[n * outputs + o], row = o * inputs;
      if (g === 0) continue; // as behind a ReLU
      into.bias[o] += g;
      for (let k = 0; k < count; k++) into.weight[row + at[k]] += g * x[from + at[k]];
      if (!first) for (let i = 0; i < inputs; i++) into.x[from + i] += g * weight[row + i];
    }
  }
  return into;
}

/* ---- normalization: which numbers share a mean? ---------------------------------------------
   Number k of set s stands at s * first + k * next. */

const columns = (rows, features) => ({ sets: features, size: rows, first: 1, next: features });
const rows = (rows, features) => ({ sets: rows, size: features, first: features, next: 1 });

/** Mean and biased variance of each set; not centered, 0 and the mean square. */
function moments(x, { sets, size, first, next }, centered = true) {
  const mean = zeros(sets), variance = zeros(sets);
  for (let s = 0; s < sets; s++) {
    if (centered) for (let k = 0; k < size; k++) mean[s] += x[s * first + k * next] / size;
    for (let k = 0; k < size; k++) variance[s] += (x[s * first + k * next] - mean[s]) ** 2 / size;
  }
  return { mean, variance };
}

function standardize(x, mean, variance, { sets, size, first, next }, eps) {
  const xHat = zeros(x.length), rstd = variance.map((v) => 1 / Math.sqrt(v + eps));
  for (let s = 0; s < sets; s++) {
    for (let k = 0; k < size; k++) {
      const at = s * first + k * next;
      xHat[at] = (x[at] - mean[s]) * rstd[s];
    }
  }
  return { xHat, rstd };
}

/** The gradient of x: what is left without its mean and without its part along xHat. */
function standardizeBackward(grad, xHat, rstd, { sets, size, first, next }, centered = true) {
  const into = zeros(grad.length);
  for (let s = 0; s < sets; s++) {
    let mean = 0, along = 0;
    for (let k = 0; k < size; k++) {
      const at = s * first + k * next;
      if (centered) mean += grad[at] / size;
      along += grad[at] * xHat[at] / size;
    }
    for (let k = 0; k < size; k++) {
      const at = s * first + k * next;
      into[at] = rstd[s] * (grad[at] - mean - xHat[at] * along);
    }
  }
  return into;
}

const scaleAndShift = (xHat, gamma, beta = zeros(gamma.length)) =>
  xHat.map((value, at) => gamma[at % gamma.length] * value + beta[at % gamma.length]);

function scaleAndShiftBackward(grad, xHat, gamma) {
  const into = { xHat: zeros(grad.length), gamma: zeros(gamma.length), beta: zeros(gamma.length) };
  for (let at = 0; at < grad.length; at++) {
    const unit = at % gamma.length;
    into.xHat[at] = grad[at] * gamma[unit];
    into.gamma[unit] += grad[at] * xHat[at];
    into.beta[unit] += grad[at];
  }
  return into;
}

/* ---- weight norm: w = g v / ‖v‖ ---- */

/** The length of each row. */
function lengths(v, outputs) {
  const { variance } = moments(v, rows(outputs, v.length / outputs), false);
  return variance.map((meanSquare) => Math.sqrt(meanSquare * v.length / outputs));
}

function weightNorm(v, g) {
  const inputs = v.length / g.length, length = lengths(v, g.length);
  return v.map((value, at) => g[Math.floor(at / inputs)] * value / length[Math.floor(at / inputs)]);
}

function weightNormBackward(grad, v, g) {
  const inputs = v.length / g.length, length = lengths(v, g.length);
  const into = { v: zeros(v.length), g: zeros(g.length) };
  for (let o = 0; o < g.length; o++) {
    for (let at = o * inputs; at < (o + 1) * inputs; at++) into.g[o] += grad[at] * v[at] / length[o];
    for (let at = o * inputs; at < (o + 1) * inputs; at++) {
      into.v[at] = g[o] / length[o] * (grad[at] - into.g[o] * v[at] / length[o]);
    }
  }
  return into;
}

/* ---- activations and loss ---- */

const ACTIVATIONS = {
  relu: (x) => (x > 0 ? x : 0 * x), // what is no number stays none
  tanh: Math.tanh,
  sigmoid: (x) => 1 / (1 + Math.exp(-x)),
};
/** The derivatives, from what the activation gave. */
const SLOPES = {
  relu: (y) => (y > 0 ? 1 : 0),
  tanh: (y) => 1 - y * y,
  sigmoid: (y) => y * (1 - y),
};

const activate = (x, activation) => x.map((value) => ACTIVATIONS[activation](value));
const activateBackward = (grad, y, activation) => grad.map((g, at) => g * SLOPES[activation](y[at]));

/** The mean over the batch, the gradient of the scores, and how many images are read correctly. */
function crossEntropy(scores, labels) {
  const classes = scores.length / labels.length, grad = zeros(scores.length);
  let loss = 0, correct = 0;
  labels.forEach((label, n) => {
    const row = scores.subarray(n * classes, (n + 1) * classes), largest = Math.max(...row);
    const powers = row.map((score) => Math.exp(score - largest)), sum = powers.reduce((a, b) => a + b);
    loss += (Math.log(sum) + largest - row[label]) / labels.length;
    correct += row.indexOf(largest) === label;
    powers.forEach((power, c) => { grad[n * classes + c] = (power / sum - (c === label)) / labels.length; });
  });
  return { loss, grad, correct };
}

/* ---- the network: linear, norm, activation, and so on; the last linear alone ---- */

class Network {
  /** `weights` are those of the linear layers from the images to the scores; biases start at 0. */
  constructor(weights, sizes, norm, activation) {
    this.norm = norm;
    this.activation = activation;
    this.parameters = [];
    const parameter = (value) => {
      const made = { value, grad: null };
      this.parameters.push(made);
      return made;
    };
    this.layers = weights.map((weight, i) => {
      const units = sizes[i + 1];
      const layer = { units, weight: parameter(weight.slice()), bias: parameter(zeros(units)) };
      if (norm === "weight") layer.g = parameter(lengths(weight, units));
      if (i === weights.length - 1 || !(norm in EPS)) return layer;
      layer.gamma = parameter(zeros(units).fill(1));
      if (norm !== "rms") layer.beta = parameter(zeros(units));
      if (norm === "batch") layer.running = { mean: zeros(units), variance: zeros(units).fill(1) };
      return layer;
    });
  }

  /** Scores of images, with all that backward and the pictures need, a record for each layer.
   *
   * `training`: batch norm takes the batch's own statistics, and with a `momentum` the running ones
   * move toward them by that share.
   */
  forward(images, training = true, momentum = 0) {
    let x = images;
    return this.layers.map((layer, i) => {
      const { value } = layer.weight;
      const record = { x, weight: layer.g ? weightNorm(value, layer.g.value) : value };
      record.entering = linear(x, record.weight, layer.bias.value);
      if (layer.gamma) this.normalize(layer, record, training, momentum);
      x = record.entering;
      if (i < this.layers.length - 1) x = record.y = activate(x, this.activation);
      return record;
    });
  }

  normalize(layer, record, training, momentum) {
    const x = record.entering, count = x.length / layer.units, centered = this.norm !== "rms";
    record.shared = (this.norm === "batch" ? columns : rows)(count, layer.units);
    const own = training || !layer.running;
    const used = own ? moments(x, record.shared, centered) : layer.running;
    if (own && layer.running) {
      const toward = (old, now) => old.map((v, j) => v + momentum * (now[j] - v));
      layer.running.mean = toward(layer.running.mean, used.mean);
      layer.running.variance = toward(layer.running.variance, used.variance.map((v) => v * count / (count - 1)));
    }
    Object.assign(record, used, standardize(x, used.mean, used.variance, record.shared, EPS[this.norm]));
    record.entering = scaleAndShift(record.xHat, layer.gamma.value, layer.beta?.value);
  }

  /** From the gradient of the scores to that of every parameter; `records` are of training. */
  backward(records, gradScores) {
    let grad = gradScores;
    for (let i = records.length - 1; i >= 0; i--) {
      const layer = this.layers[i], record = records[i];
      if (record.y) grad = activateBackward(grad, record.y, this.activation);
      if (layer.gamma) {
        const affine = scaleAndShiftBackward(grad, record.xHat, layer.gamma.value);
        layer.gamma.grad = affine.gamma;
        if (layer.beta) layer.beta.grad = affine.beta;
        grad = standardizeBackward(affine.xHat, record.xHat, record.rstd, record.shared, this.norm !== "rms");
      }
      const into = linearBackward(grad, record.x, record.weight, layer.units, i === 0);
      record.grad = layer.weight.grad = into.weight; // of the weight that was multiplied with
      layer.bias.grad = into.bias;
      if (layer.g) {
        const parts = weightNormBackward(into.weight, layer.weight.value, layer.g.value);
        layer.weight.grad = parts.v;
        layer.g.grad = parts.g;
      }
      grad = into.x;
    }
  }
}

return {
  Network, SLOPES, activate, activateBackward, columns, crossEntropy, lengths, linear, linearBackward, moments,
  rows, scaleAndShift, scaleAndShiftBackward, standardize, standardizeBackward, weightNorm, weightNormBackward,
};
};
