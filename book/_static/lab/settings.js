/* What is set. The controls of the page (book/_templates/lab.html) know its labels, limits and where it
 * begins, and it stands in the address as well: #lab?depth=8&lr=0.3 */
"use strict";

{
const { lab } = window.normtutorial;

function value({ type, value, dataset: { base } }) {
  if (type !== "range") return value;
  const is = base ? base ** value : Number(value);
  return Number.isInteger(is) ? is : Number(is.toPrecision(2));
}

/** What is unknown or missing is as at the beginning; the browser brings a slider within its limits. */
function set(input, to) {
  const { type, options, defaultValue, dataset: { base } } = input;
  const at = base ? Math.log(to) / Math.log(base) : Number(to);
  if (type === "range") input.value = Number.isFinite(at) ? at : defaultValue;
  else {
    input.value = to;
    if (!input.value) input.selectedIndex = Math.max(0, [...options].findIndex((one) => one.defaultSelected));
  }
}

function tell(input) {
  if (input.type !== "range") return;
  const shown = input.nextElementSibling;
  shown.value = lab.number(value(input), 3);
  input.setAttribute("aria-valuetext", shown.value);
}

/** The controls of a lab: change(name, live) hears what the reader sets, at once of what is live. */
lab.controls = (root, change) => {
  const inputs = [...root.querySelectorAll("[name]")];
  const read = () => {
    const settings = { norms: [] };
    for (const input of inputs) {
      if (input.name === "norms") settings.norms.push(input.value);
      else settings[input.name] = value(input);
    }
    return settings;
  };
  const write = (given) => {
    const norms = String(given.norms).split(",");
    for (const input of inputs) {
      set(input, input.name === "norms" ? norms.shift() : given[input.name]);
      tell(input);
    }
  };
  const hear = ({ type, target }) => {
    if (!inputs.includes(target)) return;
    const { name, dataset: { live } } = target; // "" for what acts at once, "view" for what only shows
    tell(target);
    if (type === (live === undefined ? "change" : "input")) change(name, live);
  };
  for (const type of ["input", "change"]) root.addEventListener(type, hear);
  return { read, start: read(), write };
};

/** The part of an address after #lab?, or what it says. A preset stands for its settings. */
lab.write = (settings, start, preset) => {
  const told = Object.entries(settings).filter(([name, value]) =>
    (!preset || name === "seed") && String(value) !== String(start[name]));
  if (preset) told.unshift(["preset", preset]);
  return `#lab?${new URLSearchParams(told)}`.replaceAll("%2C", ",");
};
lab.read = (text) => Object.fromEntries(new URLSearchParams(text));
}
