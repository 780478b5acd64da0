/* The lab: controls, pictures and the worker put together. `element.lab` is for tests and links. */
"use strict";

window.normtutorial.demos.lab = (root) => {
const { lab } = window.normtutorial;
const END = 400; // steps of a small lab
const template = root.querySelector("template"), { content } = template;
template.remove();
content.querySelector(".lab-still").append(...root.childNodes); // what has stood in
root.append(content);
const small = root.dataset.size === "small", presets = lab.presets();
let settings, preset = null, guess = null, guessed = false; // a preset, its form, whether it was filled in
let id = 0, stale = 0, waiting = [], ready = null, begun = false;
let step = 0, playing = false, runs = [], frame = null, drawn = 0;
const goal = () => (small ? END : guessed || step < presets[preset]?.steps ? presets[preset].steps : Infinity);

/* What is said to the worker, and what it says. */

const ask = (message) => new Promise((resolve) => {
  if (!begun) Object.assign(message, { reset: settings });
  begun = true;
  waiting.push([++id, resolve]);
  const sent = { id, ...message };
  (ready ??= lab.startWorker(hear)).then((worker) => worker.postMessage(sent), (error) => { view.say(error.message); });
});

function hear(report) {
  if (report.id <= stale) return;
  step = report.step;
  runs.forEach((run, i) => run.extend(report.runs[i]));
  if (report.idle && report.id === id) {
    playing = false;
    if (guessed && step >= presets[preset].steps) finish();
  }
  if (report.idle) waiting = waiting.filter(([asked, resolve]) => asked > report.id || resolve());
  show();
}

/** The pictures follow at most once a frame, with reduced motion at most once a second. */
function show() {
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches && playing ? 1000 : 0;
  if (performance.now() - drawn < calm) return;
  frame ??= requestAnimationFrame(() => {
    frame = null;
    drawn = performance.now();
    view.draw({ step, settings, playing, runs });
  });
}

/* What can be done. */

const play = () => {
  if (small && step >= END) reset();
  playing = true;
  show();
  return ask({ until: goal(), pace: Number(settings.pace) });
};
const go = (message) => {
  playing = false;
  return ask(message);
};
const pause = () => go({ until: 0 });
const more = (count = 1) => go({ more: count });

function set(given) {
  controls.write(given);
  settings = controls.read();
  view.show(settings);
}

function reset(given = settings) {
  set(given);
  stale = id;
  waiting.forEach(([, resolve]) => resolve());
  [step, waiting, begun] = [0, [], false];
  runs = settings.norms.map((norm) => new lab.Record(norm));
  if (small && !ready && !playing) return Promise.resolve(show());
  return playing ? play() : ask({ until: 0 });
}

const share = () => {
  if (!small) history.replaceState(null, "", lab.write(settings, controls.start, preset));
};

const controls = lab.controls(root, (name, live) => {
  const given = controls.read();
  if (preset && name === "seed") open({ preset, seed: given.seed });
  else {
    if (preset && live !== "view") choose(null);
    settings = given;
    if (live === undefined) reset();
    else if (begun) ask({ set: { [name]: settings[name] }, pace: Number(settings.pace) });
    show();
  }
  share();
});

/** Take a preset, or none, and ask its question. */
function choose(name) {
  [preset, guessed] = [name, false];
  guess = name && lab.guess(presets[name], () => {
    guessed = true;
    play();
  });
  question.value = name ?? "";
  view.part("asked").replaceChildren(...(guess ? [guess.node] : []));
}

/** What came of a preset, after what it changes at the end. */
async function judge(name) {
  const { end } = presets[name];
  if (end) {
    set({ ...settings, ...end });
    await ask({ set: end });
  }
  return lab.answer(presets[name], runs, view.names());
}

async function finish() {
  const asked = guess;
  guessed = false;
  const truth = await judge(preset);
  if (asked === guess) asked.answer(truth);
}

function open(given) {
  choose(Object.hasOwn(presets, given.preset ?? "") ? given.preset : null);
  playing = false;
  return reset(preset ? { ...presets[preset].begin, seed: given.seed ?? 0, pace: settings?.pace } : given);
}

const view = lab.view(root, small);
const question = view.part("question");
for (const { root, preset } of Object.values(presets)) {
  question.append(new Option(root.querySelector(".lab-title").textContent, preset));
}
question.addEventListener("change", () => {
  open({ preset: question.value });
  share();
});
const actions = {
  play: () => (playing ? pause() : play()),
  more: () => more(),
  again: () => (preset ? open({ preset, seed: settings.seed }) : reset()),
};
root.addEventListener("click", ({ target }) => actions[target.dataset.do]?.());
root.lab = {
  play, pause, step: more,
  reset: (given) => {
    choose(null);
    return reset(given);
  },
  answer: async (name, seed) => {
    await open({ preset: name, seed });
    await more(presets[name].steps);
    return judge(name);
  },
  state: () => ({
    step, playing, preset, settings: { ...settings },
    runs: runs.map(({ norm, loss, accuracies, diverged }) => ({
      norm, diverged, loss: loss.map(([, value]) => value),
      accuracy: accuracies.map(([at, by]) => [at, by[settings.evaluate]]),
    })),
  }),
};

document.addEventListener("visibilitychange", () => { if (document.hidden && playing) pause(); });
/** Whether the address is that of a situation, which is opened then. */
function follow() {
  if (small || !location.hash.startsWith("#lab?")) return false;
  root.scrollIntoView();
  return open(lab.read(location.hash.slice(5)));
}
addEventListener("hashchange", follow);
if (!follow()) open({});
};
