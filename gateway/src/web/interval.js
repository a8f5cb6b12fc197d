// Intervals as pictures: one as it became what it is, over pairs or over time, and a small one for a row of a table.
//
// Both show zero, where the sides are alike, and the margin: above it the left side is not worse.

import { chart, decimalsOf, moment } from "./chart.js";
import { choice, count, el, fixed, svg, table, time } from "./kit.js";
import { signed } from "./pairs.js";

// An interval on a line from -1 to 1, or nearer where that suffices.
export function strip({ low, high }, mean, margin, reach = 1) {
  const [width, height] = [150, 18];
  const x = (value) => ((Math.max(-reach, Math.min(reach, value)) + reach) / (2 * reach)) * (width - 2) + 1;
  const label = `${words({ low, high })}; margin ${signed(-margin)}`;
  return svg("svg", { class: "strip", role: "img", "aria-label": label, width, height },
    svg("title", {}, label),
    svg("line", { class: "grid", x1: 1, x2: width - 1, y1: height / 2, y2: height / 2 }),
    svg("line", { class: "zero", x1: x(0), x2: x(0), y1: 2, y2: height - 2 }),
    svg("line", { class: "margin", x1: x(-margin), x2: x(-margin), y1: 0, y2: height }),
    svg("rect", { class: "band", x: x(low), width: Math.max(2, x(high) - x(low)), y: 6, height: height - 12 }),
    typeof mean === "number" && svg("circle", { class: "mean", cx: x(mean), cy: height / 2, r: 3 }));
}

export const words = ({ low, high }) => `between ${signed(low)} and ${signed(high)}`;

const AXES = [["pairs", "the number of pairs"], ["time", "time"]];
// Where an interval is cut when it knows nothing yet, as a multiple of the margin; the values themselves are never changed.
const SHOWN_MARGINS = 1.5;

// The interval as it became what it is: `show(course, margin)`.
export function course() {
  let looks = [];
  let margin = 0;
  let over = "pairs";
  const place = el("div");
  const rows = table({
    caption: "The interval over the number of pairs",
    empty: "",
    key: (look) => look.pairs,
    columns: [
      { head: "Pairs", num: true, row: true, cell: (look) => count(look.pairs) },
      { head: "When", wide: true, cell: (look) => time(look.time) },
      { head: "Mean difference", num: true, cell: (look) => signed(look.mean) },
      { head: "Lower end", num: true, cell: (look) => signed(look.low) },
      { head: "Upper end", num: true, cell: (look) => signed(look.high) },
    ],
  });
  const empty = el("p", { class: "empty" }, "There is no judged pair yet.");
  const numbers = el("details", {}, el("summary", {}, "The same as a table"), rows.node);
  const axis = el("div", { class: "filters" }, choice("over", "Over", AXES, over, (value) => {
    over = value;
    build();
    draw();
  }));
  let picture = null;

  // The two axes are of different kinds, so each has a chart of its own.
  function build() {
    picture?.leave();
    const clock = over === "time" ? 1 : null;
    const when = (at) => `after ${count(looks[at].pairs)} ${looks[at].pairs === 1 ? "pair" : "pairs"}`;
    picture = chart({
      label: `The mean difference and its interval over ${AXES.find(([word]) => word === over)[1]}`,
      height: 220,
      clock,
      x: (value, at) => (at === undefined ? count(value) : clock ? `${moment(value, 1)} UTC, ${when(at)}` : when(at)),
      y: { say: (value, step) => (value === 0 ? "0" : `${value < 0 ? "−" : "+"}${fixed(Math.abs(value), decimalsOf(step))}`),
        limits: () => reach() },
      series: [
        { label: "Interval", look: "edge", ink: "soft", say: (value, at) => words(looks[at]) },
        { look: "edge", ink: "soft" },
        { label: "Mean", look: "line", ink: "accent", say: signed },
        { label: "Margin: above it the left side is not worse", look: "dashes", ink: "bad", say: null },
        { look: "edge", ink: "quiet" },
      ],
    });
    place.replaceChildren(picture.node);
  }

  // The first looks know nothing: the picture is cut where the later half of them lies.
  function reach() {
    const later = looks.slice(Math.floor(looks.length / 2));
    const most = Math.max(margin * SHOWN_MARGINS, ...later.map((look) => Math.max(Math.abs(look.low), Math.abs(look.high))));
    const edge = Math.min(1, [0.1, 0.2, 0.5, 1].find((step) => step >= most) ?? 1) * 1.04;
    return [-edge, edge];
  }

  function draw() {
    if (looks.length === 0) return;
    const last = looks[looks.length - 1];
    const column = (pick) => looks.map(pick);
    picture.show([
      column((look) => (over === "time" ? Date.parse(look.time) / 1_000 : look.pairs)),
      column((look) => look.high), column((look) => look.low), column((look) => look.mean),
      column(() => -margin), column(() => 0),
    ], `after ${count(last.pairs)} pairs the mean difference is ${signed(last.mean)}, ${words(last)}; `
      + `the margin is at ${signed(-margin)}.`, over === "time" ? 1 : null);
  }

  build();
  return {
    node: el("div", {}, empty, axis, place, numbers),
    leave: () => picture.leave(),
    show(found, asked) {
      const seen = JSON.stringify([found, asked]) === JSON.stringify([looks, margin]);
      [looks, margin] = [found, asked];
      empty.hidden = looks.length > 0;
      for (const node of [axis, place, numbers]) node.hidden = looks.length === 0;
      rows.show([...looks].reverse());
      if (!seen) draw();
    },
  };
}
