// Intervals as pictures: one over the number of pairs, and a small one for a row of a table.
//
// Both show zero, where the sides are alike, and the margin: right of it the left side is not worse.

import { count, el, svg, table } from "./kit.js";
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

// The interval as it became what it is: `show(course, margin)` draws it for the width there is.
export function course() {
  const canvas = el("div", { class: "chart" });
  const rows = table({
    caption: "The interval over the number of pairs",
    empty: "",
    key: (look) => look.pairs,
    columns: [
      { head: "Pairs", num: true, row: true, cell: (look) => count(look.pairs) },
      { head: "Mean difference", num: true, cell: (look) => signed(look.mean) },
      { head: "Lower end", num: true, cell: (look) => signed(look.low) },
      { head: "Upper end", num: true, cell: (look) => signed(look.high) },
    ],
  });
  const legend = el("p", { class: "legend", "aria-hidden": "true" },
    el("span", { class: "swatch band" }), "Interval", el("span", { class: "swatch mean" }), "Mean",
    el("span", { class: "swatch margin" }), "Margin: above it the left side is not worse");
  const empty = el("p", { class: "empty" }, "There is no judged pair yet.");
  const numbers = el("details", {}, el("summary", {}, "The same as a table"), rows.node);
  let looks = [];
  let margin = 0;
  let drawn = "";
  const draw = () => {
    const width = Math.floor(canvas.clientWidth);
    const seen = JSON.stringify([width, looks, margin]);
    if (width === 0 || looks.length === 0 || seen === drawn) return;
    drawn = seen;
    canvas.replaceChildren(picture(looks, margin, width));
  };
  const watch = new ResizeObserver(draw);
  watch.observe(canvas);
  return {
    node: el("div", {}, empty, legend, canvas, numbers),
    leave: () => watch.disconnect(),
    show(found, asked) {
      [looks, margin] = [found, asked];
      empty.hidden = looks.length > 0;
      for (const node of [legend, canvas, numbers]) node.hidden = looks.length === 0;
      rows.show([...looks].reverse());
      draw();
    },
  };
}

function picture(looks, margin, width) {
  const [top, height, foot, left, right] = [8, 190, 34, 52, 8];
  const last = looks[looks.length - 1];
  // The first looks know nothing: the picture is cut where the later half of them lies.
  const later = looks.slice(Math.floor(looks.length / 2));
  const most = Math.max(margin * 1.5, ...later.map((look) => Math.max(Math.abs(look.low), Math.abs(look.high))));
  const reach = Math.min(1, [0.1, 0.2, 0.5, 1].find((step) => step >= most) ?? 1);
  const x = (pairs) => left + (width - left - right) * (pairs / last.pairs);
  const y = (value) => top + height * (1 - (Math.max(-reach, Math.min(reach, value)) + reach) / (2 * reach));
  const points = (pick) => looks.map((look) => `${x(look.pairs).toFixed(1)},${y(pick(look)).toFixed(1)}`);
  const band = [...points((look) => look.high), ...points((look) => look.low).reverse()].join(" ");
  const chart = svg("svg", { width, height: top + height + foot, role: "img",
    "aria-label": `After ${count(last.pairs)} pairs the mean difference is ${signed(last.mean)}, `
      + `${words(last)}; the margin is at ${signed(-margin)}.` });
  for (const line of [-1, -0.5, 0, 0.5, 1].map((part) => part * reach)) {
    chart.append(svg("line", { class: line === 0 ? "zero" : "grid", x1: left, x2: width - right, y1: y(line), y2: y(line) }),
      svg("text", { x: left - 6, y: y(line) + 4, "text-anchor": "end" }, line === 0 ? "0" : signed(line).replace(/\.?0+$/, "")));
  }
  chart.append(svg("polygon", { class: "band", points: band }),
    svg("polyline", { class: "mean", points: points((look) => look.mean).join(" ") }),
    svg("line", { class: "margin", x1: left, x2: width - right, y1: y(-margin), y2: y(-margin) }));
  if (looks.length === 1) chart.append(svg("circle", { class: "mean", cx: x(last.pairs), cy: y(last.mean), r: 3 }));
  for (const pairs of [0, last.pairs / 2, last.pairs].map(Math.round)) {
    const anchor = pairs === 0 ? "start" : pairs === last.pairs ? "end" : "middle";
    chart.append(svg("text", { x: x(pairs), y: top + height + 16, "text-anchor": anchor }, count(pairs)));
  }
  chart.append(svg("text", { x: left + (width - left - right) / 2, y: top + height + 31, "text-anchor": "middle" }, "pairs"));
  return chart;
}
