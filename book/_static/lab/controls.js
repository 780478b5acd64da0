/* The lab's controls: a slider or a list for each setting, and the question of a preset. */
"use strict";

window.normtutorial.lab ??= {};

{
  const { lab, pieces: { html } } = window.normtutorial;
  let count = 0;

  lab.list = (label, options, change) => {
    const id = `lab-${++count}`;
    const input = html("select", { id, onchange: () => change(input.value) },
      ...Object.entries(options).map(([value, text]) => html("option", { value }, text)));
    return { node: html("div", { class: "demo-select" }, html("label", { for: id }, label), input), input };
  };

  lab.button = (text, press) => html("button", { type: "button", onclick: press }, text);

  function slider({ label, values, live }, change) {
    const id = `lab-${++count}`, shown = html("output", { for: id });
    const told = () => {
      shown.value = lab.number(values[input.value]);
      input.setAttribute("aria-valuetext", shown.value);
    };
    const moved = () => change(values[input.value]);
    const input = html("input", {
      type: "range", id, min: 0, max: values.length - 1, step: 1,
      oninput: () => { told(); if (live) moved(); }, onchange: () => { if (!live) moved(); },
    });
    const show = (value) => {
      const distance = values.map((v) => Math.abs(v - value));
      input.value = distance.indexOf(Math.min(...distance));
      told();
    };
    return { node: html("div", { class: "demo-slider" }, html("label", { for: id }, label), input, shown), show };
  }

  /** Controls for some settings; change(name, value) hears of what the reader does. */
  lab.controls = (names, change) => {
    const made = names.map((name) => {
      const one = lab.SETTINGS[name], hear = (value) => change(name, value);
      if (!one.texts) return slider(one, hear);
      const { node, input } = lab.list(one.label, one.texts, hear);
      return { node, show: (value) => { input.value = value; } };
    });
    const show = (settings) => made.forEach((one, i) => one.show(settings[names[i]]));
    return { node: html("div", { class: "lab-controls" }, ...made.map((one) => one.node)), show };
  };

  /** The question of a preset; guessed() hears when the reader has chosen, answer() tells the truth. */
  lab.guess = ({ ask, choices }, guessed) => {
    const name = `lab-${++count}`;
    const inputs = choices.map((_, i) => html("input", { type: "radio", name, value: i, required: "" }));
    const labels = choices.map((text, i) => html("label", {}, inputs[i], ` ${text}`));
    const button = html("button", { type: "submit" }, "Run it");
    const said = html("p", { tabindex: -1, role: "status", class: "guess-answer" });
    const node = html("form", {
      class: "guess",
      onsubmit: (event) => {
        event.preventDefault();
        inputs.forEach((input) => { input.disabled = true; });
        said.textContent = "It runs, and stops when the answer is there.";
        said.focus(); // since the button goes
        button.remove();
        guessed();
      },
    }, html("fieldset", {}, html("legend", { class: "guess-question" }, ask), ...labels), button, said);
    const answer = ({ right, said: measured }) => {
      labels[right].classList.add("right");
      labels[right].append(" \u2190 measured");
      said.textContent = `${inputs[right].checked ? "You guessed right." : "It went otherwise."} ${measured}`;
    };
    return { node, answer };
  };
}
