/* The worker that trains, and the data that it trains on.
 *
 * A page that was opened as a file can load neither a worker's file nor a module, so the worker is made
 * from the text of the functions, and the images come with a classic script when they are wanted.
 */
"use strict";

{
const { lab, pieces: { html } } = window.normtutorial;
const here = document.currentScript?.src;

/** In the worker: trains in short slices, so that it hears what the page says in between. */
function serve({ Training, decode }) {
  const SLICE = 40; // milliseconds: 25 pictures a second
  let digits, training, timer, id, until = 0, pace = 0, began = {};
  const idle = () => training.steps >= until || !training.sound.length;

  function work() {
    const now = performance.now();
    const due = pace ? began.step + Math.ceil((now - began.time) * pace / 1000) : Infinity;
    while (!idle() && training.steps < due && performance.now() < now + SLICE) training.step();
    postMessage({ id, idle: idle(), ...training.report() });
    if (!idle()) timer = setTimeout(work, pace ? Math.max(40, 1000 / pace) : 0);
  }

  /** Any of: digits, reset, set, and how far to go: until, or how many more. */
  onmessage = ({ data }) => {
    clearTimeout(timer);
    ({ id } = data);
    if (data.digits) digits = decode(data.digits);
    if (data.reset) training = new Training(digits, data.reset);
    if (data.set) training.change(data.set);
    until = data.more ? training.steps + data.more : data.until ?? until;
    pace = data.more ? 0 : data.pace ?? pace;
    began = { time: performance.now(), step: training?.steps };
    if (training) work();
  };
}

/** Digits, which are loaded now, and a worker that has them; hear() gets its reports. */
lab.startWorker = async (hear) => {
  await new Promise((resolve, reject) => document.head.append(html("script", {
    src: new URL("digits.js", here), onload: resolve,
    onerror: () => reject(new Error("The images of the lab, digits.js, could not be loaded.")),
  })));
  const text = `"use strict"; (${serve})((${lab.training})((${lab.network})()));`;
  const address = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
  const worker = new Worker(address);
  URL.revokeObjectURL(address);
  worker.onmessage = ({ data }) => hear(data);
  worker.postMessage({ digits: lab.digits });
  return worker;
};
}
