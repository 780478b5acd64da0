/* Curves that were recorded of several runs, to drag through: a slider for what the runs differ in,
 * one for the time. It is made of the pieces of demos.js; the numbers are those of
 * `normtutorial.explorer.Curves`, drawn as they are.
 */
"use strict";

{
  const book = window.normtutorial;
  const { PLOT, along, emptyPlot, grid, html, minus, range, row, slider, svg, titles } = book.pieces;

  const number = (x) => minus(x >= 1000 ? Math.round(x).toLocaleString("en").replace(",", "\u202f")
    : String(Number(x.toPrecision(3))));
  const RAISED = "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079";
  const raised = (n) => (n < 0 ? "\u207b" : "") + [...String(Math.abs(n))].map((digit) => RAISED[digit]).join("");
  const power = (i) => (Math.abs(i) < 3 ? String(Number((10 ** i).toPrecision(1))) : `10${raised(i)}`);

  /** The powers of ten that hold all values. */
  function decades(rows) {
    const logs = rows.flat().map(Math.log10);
    return [Math.floor(Math.min(...logs)), Math.ceil(Math.max(...logs))];
  }

  /** Draw a panel: all runs thin, the chosen one thick, the moment as a dot. */
  function draw(plot, data, panel, run, moment) {
    const { left, right, top, width, inner } = PLOT;
    const [low, high] = decades(panel.rows);
    const x = (i) => left + inner.width * (i + 0.5) / data.moments.length;
    const y = (value) => top + inner.height * (high - Math.log10(value)) / (high - low);
    const every = Math.ceil((high - low) / 5);
    const heights = range(high - low + 1).map((i) => low + i).filter((i) => (high - i) % every === 0);
    const line = (values, style) => svg("polyline", {
      points: values.map((value, i) => `${x(i)},${y(value).toFixed(1)}`).join(" "), class: style,
    });
    plot.replaceChildren(
      ...grid(heights.map((i) => [y(10 ** i), power(i)])),
      ...along(data.moments.map((value, i) => [x(i), value]).filter((_, i) => i % 2 === 0)),
      ...titles(data.time, panel.name),
      ...(panel.guide === null ? []
        : [svg("line", { x1: left, x2: width - right, y1: y(panel.guide), y2: y(panel.guide), class: "guide" })]),
      ...panel.rows.map((values) => line(values, "other")),
      line(panel.rows[run], "chosen"),
      svg("circle", { cx: x(moment), cy: y(panel.rows[run][moment]), r: 5, class: "now" }));
  }

  function curves(root) {
    const data = JSON.parse(root.querySelector("script").textContent);
    let run = Math.floor(data.values.length / 2), moment = 0;
    const plots = data.panels.map(emptyPlot);
    const said = html("p", { "aria-live": "polite", class: "demo-said" });

    function show() {
      const [value, when] = [number(data.values[run]), data.moments[moment]];
      setting.show(value, `${data.setting} ${value}`);
      time.show(when, `${data.time} ${when}`);
      said.replaceChildren(
        html("strong", {}, `${data.setting} ${value}, ${data.time} ${when}. `),
        ...data.panels.flatMap((panel, i) => [i ? "; " : "", `${panel.name} `,
          html("span", { "data-value": panel.rows[run][moment] }, number(panel.rows[run][moment]))]), ".");
      plots.forEach((plot, i) => {
        draw(plot, data, data.panels[i], run, moment);
        plot.setAttribute("aria-label", `${data.panels[i].name} by ${data.time}, on a logarithmic axis. ${said.textContent}`);
      });
    }

    const setting = slider(data.setting, { max: data.values.length - 1, value: run }, (i) => { run = i; show(); });
    const time = slider(data.time, { max: data.moments.length - 1 }, (i) => { moment = i; show(); });
    root.replaceChildren(row(setting.node, time.node), row(...plots), said,
      html("p", { class: "demo-origin" }, data.origin));
    show();
  }

  book.demos = { ...book.demos, curves };
}
