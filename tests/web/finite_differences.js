/* The gradients of sum(r * f(...)) for random r, by each backward pass of network.js, and by central
 * differences: the largest relative difference of each. */
() => {
  const N = window.normtutorial.lab.network();
  let state = 1;
  const draw = (count, from = 0) => Float64Array.from({ length: count }, () => {
    state = (state * 16807) % 2147483647;
    return from + 4 * state / 2147483647 - 2;
  });
  const sum = (y, r) => y.reduce((a, v, i) => a + v * r[i], 0);
  const worst = (loss, parameter, grad) => Math.max(...Array.from(parameter, (old, i) => {
    const [up, down] = [1e-5, -1e-5].map((h) => { parameter[i] = old + h; return loss(); });
    parameter[i] = old;
    return Math.abs((up - down) / 2e-5 - grad[i]) / (1 + Math.abs(grad[i]));
  }));
  const found = {};
  const check = (name, f, inputs, backward) => {
    const r = draw(f().length), grads = backward(r);
    for (const [key, value] of Object.entries(inputs)) {
      found[`${name}, ${key}`] = worst(() => sum(f(), r), value, grads[key]);
    }
  };
  {
    const [x, weight, bias] = [draw(15), draw(20), draw(4)];
    check("linear", () => N.linear(x, weight, bias), { x, weight, bias }, (r) => N.linearBackward(r, x, weight, 4));
  }
  for (const [name, shared, centered] of [
    ["batch", N.columns(5, 3), true], ["layer", N.rows(5, 3), true], ["rms", N.rows(5, 3), false],
  ]) {
    const x = draw(15);
    const f = () => {
      const { mean, variance } = N.moments(x, shared, centered);
      return N.standardize(x, mean, variance, shared, 1e-5);
    };
    check(name, () => f().xHat, { x }, (r) => ({ x: N.standardizeBackward(r, f().xHat, f().rstd, shared, centered) }));
  }
  {
    const [xHat, gamma, beta] = [draw(15), draw(3), draw(3)];
    check("scale and shift", () => N.scaleAndShift(xHat, gamma, beta), { xHat, gamma, beta },
      (r) => N.scaleAndShiftBackward(r, xHat, gamma));
  }
  {
    const [v, g] = [draw(12), draw(3)];
    check("weight norm", () => N.weightNorm(v, g), { v, g }, (r) => N.weightNormBackward(r, v, g));
  }
  for (const name of ["relu", "tanh", "sigmoid"]) {
    const x = draw(15);
    check(name, () => N.activate(x, name), { x }, (r) => ({ x: N.activateBackward(r, N.activate(x, name), name) }));
  }
  const scores = draw(15), labels = [0, 2, 1, 1, 0];
  const entropy = N.crossEntropy(scores, labels);
  found["cross entropy"] = worst(() => N.crossEntropy(scores, labels).loss, scores, entropy.grad);
  for (const norm of ["none", "batch", "layer", "rms", "weight"]) {
    for (const activation of ["relu", "tanh", "sigmoid"]) {
      const network = new N.Network([draw(24), draw(16), draw(12)], [6, 4, 4, 3], norm, activation), x = draw(30);
      for (const { value } of network.parameters) value.forEach((old, i) => { value[i] = old + draw(1)[0] / 4; });
      const loss = () => N.crossEntropy(network.forward(x).at(-1).entering, labels).loss;
      const records = network.forward(x);
      network.backward(records, N.crossEntropy(records.at(-1).entering, labels).grad);
      found[`network, ${norm}, ${activation}`] =
        Math.max(...network.parameters.map(({ value, grad }) => worst(loss, value, grad)));
    }
  }
  return found;
}
