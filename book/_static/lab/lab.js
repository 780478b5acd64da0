/* The lab: controls, pictures and the worker put together. `element.lab` is for tests and links. */
"use strict";

window.normtutorial.lab ??= {};

{
  const book = window.normtutorial, { lab } = book;
  const PACES = { steady: 60, slow: 10, full: 0 }; // steps a second; 0 for no limit
  const END = 400; // steps of a small lab
  const MOST = 4096; // numbers kept of a curve; of a longer run, means of 2, of 4, ...

  class Curve {
    constructor() { Object.assign(this, { values: [], every: 1, rest: [] }); }

    add(values) {
      for (const value of values) {
        if (this.rest.push(value) < this.every) continue;
        this.values.push(this.rest.reduce((a, b) => a + b) / this.every);
        this.rest = [];
        if (this.values.length === MOST) this.thin();
      }
    }

    thin() {
      this.values = this.values.filter((_, i) => i % 2 === 0).map((v, i) => (v + this.values[2 * i + 1]) / 2);
      this.every *= 2;
    }

    /** About `count` points, each the mean of some steps. */
    points(count) {
      const by = Math.ceil(this.values.length / count), points = [];
      for (let i = 0; i < this.values.length; i += by) {
        const some = this.values.slice(i, i + by);
        points.push([(i + some.length / 2) * this.every, some.reduce((a, b) => a + b) / some.length]);
      }
      return points;
    }
  }

  /** What a run has been, over the reports of the worker. */
  const record = (norm) => ({ norm, loss: new Curve(), accuracies: [], diverged: null });

  function extend(run, { loss, accuracy, diverged }) {
    run.loss.add(loss);
    run.accuracies.push(...accuracy);
    if (run.accuracies.length > MOST) run.accuracies = run.accuracies.filter((_, i) => i % 2 === 0);
    run.diverged = diverged;
  }

  function start(root) {
    const small = root.dataset.size === "small";
    let settings, preset = null, guess = null, guessed = false; // a preset's name, its form, whether it was filled in
    let session = 0, id = 0, waiting = [], ready = null, begun = false;
    let step = 0, playing = false, latest = null, runs = [], frame = null, drawn = 0;
    const goal = () => (small ? END : preset && step < lab.PRESETS[preset].steps ? lab.PRESETS[preset].steps : Infinity);

    /* What is said to the worker, and what it says. */

    const begin = () => lab.load().then((digits) => {
      const worker = lab.startWorker();
      worker.onmessage = ({ data }) => { if (data.session === session) hear(data); };
      worker.postMessage({ digits });
      return worker;
    });
    const ask = (message) => new Promise((resolve) => {
      if (!begun) Object.assign(message, { reset: settings });
      begun = true;
      waiting.push([++id, resolve]);
      const sent = { session, id, ...message };
      (ready ??= begin()).then((worker) => worker.postMessage(sent), (error) => { view.say(error.message); });
    });

    function hear(report) {
      latest = report;
      step = report.step;
      runs.forEach((run, i) => extend(run, report.runs[i]));
      if (report.idle && report.id === id) {
        playing = false;
        if (preset && guessed && step >= lab.PRESETS[preset].steps) finish();
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
        view.draw({ step, settings, playing, runs, latest });
      });
    }

    /* What can be done. */

    const play = () => {
      if (small && step >= END) reset();
      playing = true;
      show();
      return ask({ until: goal(), pace: PACES[settings.pace] });
    };
    const pause = () => {
      playing = false;
      return ask({ until: 0 });
    };
    const more = (count = 1) => {
      playing = false;
      return ask({ more: count });
    };

    function reset(given = settings) {
      settings = lab.settings(given);
      session += 1;
      waiting.forEach(([, resolve]) => resolve());
      [step, latest, waiting, runs, begun] = [0, null, [], settings.norms.map(record), false];
      view.show(settings);
      if (small && !ready && !playing) return Promise.resolve(show());
      return playing ? play() : ask({ until: 0 });
    }

    const share = () => { if (!small) history.replaceState(null, "", lab.write(settings, preset)); };

    function change(name, value) {
      if (preset && name === "seed") {
        open({ preset, seed: value });
        return share();
      }
      if (preset && name !== "pace") choose(null);
      settings = lab.settings({ ...settings, [name]: value });
      share();
      if (!lab.SETTINGS[name]?.live) return reset();
      view.show(settings);
      if (begun) ask({ set: { [name]: settings[name] }, pace: PACES[settings.pace] });
      return show();
    }

    /** Take a preset, or none, and ask its question. */
    function choose(name) {
      [preset, guessed] = [name, false];
      guess = name && lab.guess(lab.PRESETS[name], () => {
        guessed = true;
        if (step >= lab.PRESETS[name].steps) finish();
        else play();
      });
      view.ask(name, guess?.node);
    }

    /** What came of a preset, after what it changes at the end. */
    async function judge(name) {
      const { then } = lab.PRESETS[name];
      if (then) {
        Object.assign(settings, then);
        view.show(settings);
        await ask({ set: then });
      }
      return lab.answer(lab.PRESETS[name], runs);
    }

    async function finish() {
      const asked = guess;
      guessed = false;
      const truth = await judge(preset);
      if (asked === guess) asked.answer(truth);
    }

    function open(given) {
      const name = Object.hasOwn(lab.PRESETS, given.preset ?? "") ? given.preset : null;
      choose(name);
      playing = false;
      return reset(name ? { ...lab.PRESETS[name].settings, seed: given.seed, pace: settings?.pace } : given);
    }

    const view = lab.view(root, {
      small, change, play: () => (playing ? pause() : play()), more: () => more(),
      again: () => (preset ? open({ preset, seed: settings.seed }) : reset()),
      look: (looked) => ask({ looked }),
      choose: (name) => {
        open(name ? { preset: name } : {});
        share();
      },
    });
    root.lab = {
      play, pause, step: more, reset: (given) => { choose(null); return reset(given); },
      answer: async (name, seed = 0) => {
        await open({ preset: name, seed });
        await more(lab.PRESETS[name].steps);
        return judge(name);
      },
      state: () => ({
        step, playing, preset, settings: { ...settings },
        runs: runs.map(({ norm, loss, accuracies, diverged }) => ({
          norm, diverged, loss: [...loss.values], every: loss.every,
          accuracy: accuracies.map(([at, by]) => [at, by[settings.evaluate]]),
        })),
      }),
    };

    document.addEventListener("visibilitychange", () => { if (document.hidden && playing) pause(); });
    if (small) return void reset();
    addEventListener("hashchange", () => { if (lab.read(location.hash)) open(lab.read(location.hash)); });
    open(lab.read(location.hash) ?? {});
    if (lab.read(location.hash)) root.scrollIntoView();
  }

  book.demos = { ...book.demos, lab: start };
}
