/* Questions to begin with. They stand in the page (book/lab.md), each with an address to begin at, how many
 * steps to take, what to measure then, and choices in rising order: the cuts say which of them is right. */
"use strict";

{
const { lab, pieces: { choices, html, once } } = window.normtutorial;
/** What is measured: one of these, or one less another: "second - first". */
const MEASURES = {
  first: ([a]) => a.right(),
  second: ([, b]) => b.right(),
  own: ([, b]) => b.right("batch"), // with the statistics of each batch of test images
  "above 40 %": (runs) => runs.filter((run) => run.right() > 0.4).length,
};

lab.presets = () => Object.fromEntries([...document.querySelectorAll("[data-preset]")].map((root) => {
  const { preset, begin, end, steps } = root.dataset;
  return [preset, { root, ...root.dataset, begin: lab.read(begin), end: end && lab.read(end), steps: Number(steps) }];
}));

/** Which choice is right, from the runs as they are now, and in words what was measured. */
lab.answer = ({ measure, cuts }, runs, names) => {
  const { percent } = lab, is = measure.split(" - ").map((one) => MEASURES[one](runs)).reduce((a, b) => a - b);
  const said = measure.startsWith("own")
    ? `${percent(runs[1].right())} with the running statistics, ${percent(runs[1].right("batch"))} with the batch\u2019s own.`
    : `${runs.map((run, i) => `${percent(run.right())} with ${names[i]}`).join(", ")}.`;
  return { right: cuts.split(" ").filter((cut) => is >= Number(cut)).length, said };
};

/** The question of a preset; guessed() hears when the reader has chosen, answer() tells the truth. */
lab.guess = ({ root }, guessed) => {
  const [question, list, why] = ["question", "choices", "answer"].map((part) =>
    root.querySelector(`.guess-${part}`).cloneNode(true));
  const { node, reveal } = choices(list, question), said = html("div", { tabindex: -1, role: "status" });
  const form = once(node, "Run it", () => {
    said.textContent = "It runs, and stops when the answer is there.";
    said.focus(); // since the button goes
    guessed();
  });
  const answer = ({ right, said: measured }) =>
    said.replaceChildren(html("p", {}, reveal(right), measured), ...why.childNodes);
  return { node: html("div", { class: "guess" }, question, form, said), answer };
};
}
