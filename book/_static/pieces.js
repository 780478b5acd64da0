/* What the demonstrations, the guesses and the lab are made of: elements, controls, numbers.
 *
 * Each control has a name that is read out, works by keyboard, and is styled in custom.css. Classic
 * scripts on one namespace, since a page that was opened as a file cannot load modules.
 */
"use strict";

window.normtutorial ??= {};
window.normtutorial.lab = {}; // what the files of the lab have for each other

{
  const fill = (node, attributes, children) => {
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else if (value !== false) node.setAttribute(name, value === true ? "" : value);
    }
    node.append(...children);
    return node;
  };
  const html = (tag, attributes = {}, ...children) =>
    fill(document.createElement(tag), attributes, children);
  const svg = (tag, attributes = {}, ...children) =>
    fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
  const row = (...children) => html("div", { class: "demo-row" }, ...children);

  const range = (n) => Array.from({ length: n }, (_, i) => i);
  const minus = (text) => String(text).replaceAll("-", "\u2212");
  const fixed = (x, digits = 2) => {
    const text = x.toFixed(digits);
    return minus(Number(text) === 0 ? text.replace("-", "") : text);
  };

  /** The first of ... 1, 2, 5, 10, 20 ... that is not below. */
  const roundUp = (x) => {
    const power = 10 ** Math.floor(Math.log10(x));
    return [1, 2, 5, 10].map((m) => m * power).find((one) => one >= x);
  };

  /** Round values for an axis. */
  const ticks = (low, high) => {
    const step = roundUp((high - low) / 4);
    const first = Math.ceil(low / step - 1e-9);
    return range(Math.floor(high / step + 1e-9) - first + 1).map((i) => Number(((first + i) * step).toPrecision(6)));
  };

  let ids = 0;
  const newId = () => `control-${++ids}`;

  /** Options are pairs of a value and its text. */
  const radios = (legend, options, chosen, change) => {
    const name = newId();
    const choices = options.map(([value, text]) =>
      html("label", {}, html("input", {
        type: "radio", name, checked: value === chosen, onchange: () => change(value),
      }), ` ${text}`));
    return html("fieldset", {}, html("legend", {}, legend), ...choices);
  };

  /** `limits` are those of the input; show() says what its value is called, and what is read out. */
  const slider = (label, limits, change) => {
    const id = newId();
    const shown = html("output", { for: id, "aria-hidden": "true" });
    const input = html("input", {
      type: "range", id, min: 0, max: 1, step: 1, value: 0, ...limits, oninput: () => change(Number(input.value)),
    });
    const node = html("div", { class: "slider" }, html("label", { for: id }, label), input, shown);
    const show = (text, spoken = text) => {
      shown.value = text;
      input.setAttribute("aria-valuetext", spoken);
    };
    return { node, input, show };
  };

  const select = (label, texts, change) => {
    const id = newId();
    const input = html("select", { id, onchange: () => change(input.selectedIndex) },
      ...texts.map((text, i) => html("option", { value: i }, text)));
    return html("div", { class: "select" }, html("label", { for: id }, label), input);
  };

  /** Pairs of a text and what it does. */
  const buttons = (pairs) => html("div", { class: "demo-buttons" },
    ...pairs.map(([text, press]) => html("button", { type: "button", onclick: press }, text)));

  /** The choices of a guess, in place of a list; `reveal` marks the right one and says how the reader did. */
  const choices = (list, question) => {
    const name = question.id = newId();
    const texts = [...list.children].map((item) => item.textContent.trim());
    const inputs = texts.map((_, i) => html("input", { type: "radio", name, value: i, required: true }));
    const labels = texts.map((text, i) => html("label", {}, inputs[i], ` ${text}`));
    const reveal = (right) => {
      const chosen = inputs.findIndex((input) => input.checked);
      labels[right].classList.add("right");
      labels[right].append(" \u2190 measured");
      return chosen === right ? "You guessed right. " : `Your guess: ${texts[chosen]}. `;
    };
    return { node: html("fieldset", { "aria-labelledby": name }, ...labels), reveal };
  };

  /** A form around controls, with a button that can be pressed once. */
  const once = (node, text, press) => {
    const button = html("button", { type: "submit" }, text);
    return html("form", {
      onsubmit: (event) => {
        event.preventDefault();
        for (const input of node.querySelectorAll("input")) input.disabled = true;
        button.remove();
        press();
      },
    }, node, button);
  };

  window.normtutorial.pieces = {
    buttons, choices, fixed, html, minus, once, radios, range, roundUp, row, select, slider, svg, ticks,
  };
}
