/* The control of a guess: a slider or choices, "Show me", and then the truth beside the guess.
 *
 * The page holds <div class="guess">, with the question, the choices if there are some, and the
 * answer, which was taken from the chapter's stored output when the book was built. Nothing is
 * stored, and without this script, or on paper, the answer is simply there. The controls are those
 * of pieces.js.
 */
"use strict";

{
  const { choices, html, once, slider } = window.normtutorial.pieces;

  /** A slider: its node, and what is said and drawn of both on a line. */
  function line({ from, to, step, truth }, question) {
    const [low, high] = [Number(from), Number(to)];
    const digits = (String(Number(step)).split(".")[1] ?? "").length;
    const said = () => Number(input.value).toFixed(digits);
    const { node, input, show } = slider("Your guess", { min: from, max: to, step, value: (low + high) / 2 },
      () => show(said()));
    question.id = `${input.id}-question`;
    input.setAttribute("aria-describedby", question.id);
    show(said());
    const mark = (kind, value, text) => html("span", {
      class: `guess-mark ${kind}`, style: `left: ${100 * (value - low) / (high - low)}%`,
    }, html("span", {}, text));
    const reveal = () => {
      node.replaceChildren(html("div", { class: "guess-scale", "aria-hidden": "true" },
        mark("guessed", Number(input.value), `guess ${said()}`),
        mark("measured", Number(truth), `measured ${truth}`)));
      return `Your guess: ${said()}. `;
    };
    return { node, reveal };
  }

  function start(root) {
    const [answer, list, question] = ["answer", "choices", "question"].map((part) =>
      root.querySelector(`.guess-${part}`));
    const { node, reveal } = list ? choices(list, question) : line(root.dataset, question);
    list?.toggleAttribute("hidden", true);
    answer.before(once(node, "Show me", () => {
      answer.querySelector(".guess-truth").prepend(reveal(Number(root.dataset.right)));
      root.classList.add("guess-shown");
      answer.focus(); // where it is read out
    }));
    answer.tabIndex = -1;
    root.classList.add("guess-live");
  }

  const startAll = () => document.querySelectorAll(".guess[data-truth]").forEach(start);
  if (document.readyState === "complete") startAll();
  else document.addEventListener("DOMContentLoaded", startAll);
}
