/* The control of a guess: a slider or choices, "Show me", and then the truth beside the guess.
 *
 * The page holds <div class="guess">, with the question, the choices if there are some, and the
 * answer, which was taken from the chapter's stored output when the book was built. Nothing is
 * stored, and without this script, or on paper, the answer is simply there.
 */
"use strict";

{
  const element = (tag, attributes = {}, ...children) => {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  };
  let count = 0;

  /** A slider: its node, what the reader says, and the picture of both on a line. */
  function slider({ from, to, step, truth }, question) {
    const [low, high] = [Number(from), Number(to)];
    const digits = (String(Number(step)).split(".")[1] ?? "").length;
    const id = `guess-${++count}`;
    question.id = `${id}-question`;
    const input = element("input", {
      type: "range", id, min: from, max: to, step, value: (low + high) / 2, "aria-describedby": question.id,
    });
    const shown = element("output", { for: id });
    const said = () => Number(input.value).toFixed(digits);
    input.addEventListener("input", () => { shown.value = said(); });
    shown.value = said();
    const node = element("div", { class: "guess-slider" },
      element("label", { for: id }, "Your guess"), input, shown);
    const mark = (kind, value, text) => element("span", {
      class: `guess-mark ${kind}`, style: `left: ${100 * (value - low) / (high - low)}%`,
    }, element("span", {}, text));
    const reveal = () => {
      input.disabled = true;
      node.replaceChildren(element("div", { class: "guess-scale", "aria-hidden": "true" },
        mark("guessed", Number(input.value), `guess ${said()}`),
        mark("measured", Number(truth), `measured ${truth}`)));
      return `Your guess: ${said()}. `;
    };
    return { node, reveal };
  }

  /** Choices: radio buttons in place of the list. */
  function choices({ right }, list, question) {
    const name = `guess-${++count}`;
    const texts = [...list.children].map((item) => item.textContent.trim());
    const inputs = texts.map((_, i) => element("input", { type: "radio", name, value: i, required: "" }));
    const labels = texts.map((text, i) => element("label", {}, inputs[i], ` ${text}`));
    question.id = `${name}-question`;
    const node = element("fieldset", { "aria-labelledby": question.id }, ...labels);
    list.hidden = true;
    const reveal = () => {
      const chosen = inputs.findIndex((input) => input.checked);
      for (const input of inputs) input.disabled = true;
      labels[right].classList.add("right");
      labels[right].append(" \u2190 measured");
      return chosen === Number(right) ? "You guessed right. " : `Your guess: ${texts[chosen]}. `;
    };
    return { node, reveal };
  }

  function start(root) {
    const answer = root.querySelector(".guess-answer");
    const list = root.querySelector(".guess-choices");
    const question = root.querySelector(".guess-question");
    const control = list ? choices(root.dataset, list, question) : slider(root.dataset, question);
    const button = element("button", { type: "submit" }, "Show me");
    const form = element("form", {}, control.node, button);
    answer.before(form);
    answer.tabIndex = -1;
    root.classList.add("guess-live");
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      answer.querySelector(".guess-truth").prepend(control.reveal());
      button.remove();
      root.classList.add("guess-shown");
      answer.focus(); // where it is read out
    });
  }

  const startAll = () => document.querySelectorAll(".guess[data-truth]").forEach(start);
  if (document.readyState === "complete") startAll();
  else document.addEventListener("DOMContentLoaded", startAll);
}
