/* What a run has been, over the reports of the worker. A curve is a list of points, [step, value]. */
"use strict";

{
const { lab, pieces: { range } } = window.normtutorial;
const MOST = 4096; // points that are kept

/** Fewer points, each the mean of some. */
const means = (points, by) => range(Math.ceil(points.length / by)).map((i) => {
  const some = points.slice(i * by, (i + 1) * by);
  return [0, 1].map((at) => some.reduce((sum, point) => sum + point[at], 0) / some.length);
});

lab.Record = class {
  constructor(norm) { Object.assign(this, { norm, loss: [], accuracies: [], diverged: null, now: null }); }

  extend({ loss, accuracy, diverged, ...now }) {
    Object.assign(this, { diverged, now });
    this.loss.push(...loss);
    this.accuracies.push(...accuracy);
    if (this.loss.length >= MOST) this.loss = means(this.loss, 2); // what is old becomes coarser
    if (this.accuracies.length >= MOST) this.accuracies = this.accuracies.filter((_, i) => i % 2 === 0);
  }

  /** About `count` points of the loss. */
  curve(count) { return means(this.loss, Math.ceil(this.loss.length / count)); }

  /** The mean loss of the last 20 steps. */
  get recent() { return means(this.loss.slice(-20), 20)[0]?.[1] ?? NaN; }

  /** The share of test images that was last read correctly. */
  right(by = "running") { return this.accuracies.at(-1)[1][by]; }
};
}
