// Charts: uPlot draws them; this module gives it the page's colours and clock, and what a reader needs who sees no picture.
//
// A chart is a picture with a sentence on what is in it, and a line of names that shows the values under the pointer; the
// same numbers as a table are the page's to give. uPlot (vendor/README.md) draws on a canvas and sets styles from script
// only, which the page's policy allows. Colours are read from the style sheet, anew when the reader's scheme changes.

import { el } from "./kit.js";

const { uPlot } = globalThis;
const SCHEMES = ["(prefers-color-scheme: dark)", "(forced-colors: active)"].map((query) => matchMedia(query));
const FONT = "12px system-ui, -apple-system, \"Segoe UI\", Roboto, \"Liberation Sans\", sans-serif";
const DAY = 86_400;

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

// `series` are {label, look, ink, say}: `look` is bars, line, dashes or edge (of a band: two of them, the upper one first),
// `ink` a colour of the style sheet, `say(value)` words a value; what has no label is not in the line of names. `x(place)`
// words a place; `clock` is the length of a place in seconds where places are times. `y` is {least, most, limits, say(value,
// step)}: what the axis has at least, or exactly (a function), and words. Charts with the same `sync` share a pointer.
export function chart({ label, series, x, clock = null, y, sync = null, height = 150 }) {
  const values = series.map(() => el("span", { class: "value" }));
  const named = series.map(({ label, look, ink }, at) => label && el("span", { class: "named" },
    el("span", { class: `swatch ${look} ink-${ink}` }), label, values[at]));
  const place = el("span", { class: "value" });
  const canvas = el("div", { class: "chart", role: "img", "aria-label": label });
  const node = el("div", { class: "plot" }, el("p", { class: "legend", "aria-hidden": "true" }, named, place), canvas);
  let data = [[]];
  let plot = null;
  let piece = clock;

  // The values under the pointer.
  function point(at) {
    const known = typeof at === "number" && at < data[0].length;
    place.textContent = known ? x(data[0][at], at) : "";
    series.forEach(({ say }, of) => {
      const value = known ? data[of + 1][at] : null;
      values[of].textContent = value === null || value === undefined || !say ? "" : say(value, at);
    });
  }

  function options(width) {
    const axis = { stroke: colour("quiet"), font: FONT, grid: { stroke: colour("line"), width: 1 }, ticks: { show: false }, gap: 4 };
    const [upper] = series.flatMap(({ look }, at) => (look === "edge" ? [at + 1] : []));
    return {
      width, height,
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1_000), "Etc/UTC"),
      legend: { show: false },
      cursor: { drag: { x: false, y: false }, y: false, points: { size: 8 }, ...(sync && { sync: { key: sync } }) },
      scales: {
        // Half a place to spare on either side, so that bars are whole and a single place has a width.
        x: { time: clock !== null, range: (u, low, high) => [low - (piece ?? 0) / 2, high + (piece ?? (low === high ? 1 : 0)) / 2] },
        y: { range: (u, low, high) => limits(y, low, high) },
      },
      axes: [
        { ...axis, grid: { show: false }, size: 30, gap: 9, space: clock === null ? 70 : 52,
          values: (u, splits, index, space, step) => splits.map((at) => (clock === null ? x(at) : tick(at, step))) },
        { ...axis, size: 56, space: 32, values: (u, splits, index, space, step) => splits.map((at) => y.say(at, step)) },
      ],
      series: [{}, ...series.map(styled)],
      bands: upper ? [{ series: [upper, upper + 1], fill: colour("soft") }] : [],
      hooks: { setCursor: [(u) => point(u.cursor.idx)] },
    };
  }

  function draw() {
    const width = Math.floor(canvas.clientWidth);
    if (width === 0 || data[0].length === 0) return;
    if (!plot) plot = new uPlot(options(width), data, canvas);
    else if (plot.width !== width) plot.setSize({ width, height });
  }

  function anew() {
    plot?.destroy();
    plot = null;
    draw();
  }
  const watch = new ResizeObserver(draw);
  watch.observe(canvas);
  for (const scheme of SCHEMES) scheme.addEventListener("change", anew);

  return {
    node,
    // `columns` are the places, then the values of each series, null where there is none; `said` is the sentence.
    show(columns, said, length = clock) {
      data = columns;
      piece = length;
      canvas.setAttribute("aria-label", `${label}: ${said}`);
      plot?.setData(data);
      draw();
    },
    leave() {
      watch.disconnect();
      for (const scheme of SCHEMES) scheme.removeEventListener("change", anew);
      plot?.destroy();
      plot = null;
    },
  };
}

function styled({ look, ink }) {
  const stroke = colour(ink);
  if (look === "bars") return { fill: stroke, width: 0, paths: uPlot.paths.bars({ size: [0.8, 60] }), points: { show: false } };
  if (look === "edge") return { stroke, width: 1, points: { show: false } };
  // A value between two gaps is no line, and is shown all the same.
  const points = { size: 5, fill: stroke, stroke, filter: lonely };
  return { stroke, width: 2, dash: look === "dashes" ? [6, 4] : [], points: { show: look === "line", ...points } };
}

// Places of values without neighbours.
function lonely(u, at) {
  const values = u.data[at];
  const known = (place) => values[place] !== null && values[place] !== undefined;
  return values.flatMap((_, place) => (known(place) && !known(place - 1) && !known(place + 1) ? [place] : []));
}

function limits({ least, most, limits: given }, low, high) {
  if (given) return given();
  const [bottom, top] = [Math.min(least ?? 0, low ?? 0), Math.max(most ?? 0, (high ?? 0) * 1.05)];
  return [bottom, top > bottom ? top : bottom + 1];
}

const pad = (value) => String(value).padStart(2, "0");

function parts(seconds) {
  const at = new Date(seconds * 1_000);
  return { day: `${pad(at.getUTCMonth() + 1)}-${pad(at.getUTCDate())}`, clock: `${pad(at.getUTCHours())}:${pad(at.getUTCMinutes())}` };
}

// A moment on an axis: the day where days are marked or one begins, else the time.
function tick(seconds, step) {
  const { day, clock } = parts(seconds);
  return step >= DAY || seconds % DAY === 0 ? day : clock;
}

// A moment in words: `11-28 14:00`, and only the day where a place is one.
export function moment(seconds, length) {
  const { day, clock } = parts(seconds);
  return length >= DAY ? day : `${day} ${clock}`;
}

// As many decimals as steps of an axis need.
export const decimalsOf = (step) => [0, 1, 2, 3, 4, 5, 6, 7, 8].find((digits) => {
  const whole = step * 10 ** digits;
  return Math.abs(whole - Math.round(whole)) < 1e-6 && Math.round(whole) > 0;
}) ?? 9;
