// Overview over time: money, the share that stayed local, waits and failures, in minutes, hours or days of UTC.
//
// One answer of `/api/series` is behind all of the charts and behind the table that says the same.

import { get } from "./api.js";
import { chart, decimalsOf, moment } from "./chart.js";
import { add, amount, count, decimals, el, fixed, ms, nanos, percent, quiet, table, usd, dollars } from "./kit.js";

// Words of the span: how long its pieces are.
const PIECES = { hour: ["minute", 60], today: ["hour", 3_600], week: ["hour", 3_600], month: ["day", 86_400] };
const NANO = 1e9;
const SYNC = "overview";

const saved = (row) => nanos(row.baseline_usd) - nanos(row.cost_usd) - (nanos(row.local_cost_usd) ?? 0n);
const share = (row) => (row.ended_well > 0 ? (100 * row.ended_well_local) / row.ended_well : null);

// What the words of a span ask for: `since(word)` is its begin.
export const load = (word, since, signal) => get("/api/series", { by: PIECES[word][0], since }, signal)
  .then(({ rows }) => ({ rows, word, since }));

export function trends() {
  let rows = [];
  let length = 60;
  const place = (seconds) => `${moment(seconds, length)} UTC`;
  const money = (value) => `$${dollars(BigInt(Math.round(value * NANO)), value === 0 || value >= 100 ? 2 : 6)}`;
  const wait = (value) => `${ms(value)} ms`;
  const make = (label, series, y, height) => chart({ label, series, y, x: place, clock: 60, sync: SYNC, height });
  const waits = [
    { label: "Median", look: "line", ink: "accent", say: wait },
    { label: "19 of 20 waited less", look: "line", ink: "second", say: wait },
  ];
  const seconds = { say: (value, step) => (step >= 500 ? `${fixed(value / 1_000, decimalsOf(step / 1_000))} s`
    : `${fixed(value, decimalsOf(step))} ms`) };
  const charts = {
    money: make("Spent and saved", [
      { label: "Baseline", look: "bars", ink: "soft", say: money },
      { label: "Spent", look: "bars", ink: "accent", say: (value, at) => `${money(value)}, ${savedAt(at)} saved` },
    ], { say: (value, step) => `$${fixed(value, value === 0 ? 0 : decimalsOf(step))}` }, 180),
    local: make("Answered locally", [
      { label: "Share of the answers", look: "line", ink: "accent",
        say: (value, at) => `${fixed(value, 1)}% of ${count(rows[at].ended_well)}` },
    ], { most: 100, say: (value) => `${value}%` }),
    failed: make("Failed attempts", [
      { label: "Failed", look: "bars", ink: "bad",
        say: (value, at) => `${count(value)} of ${count(rows[at].answers)}${value > 0 ? ` (${percent(value, rows[at].answers)})` : ""}` },
    ], { most: 4, say: (value) => (Number.isInteger(value) ? count(value) : "") }),
    first: make("Wait for the first event", waits, seconds),
    whole: make("Wait for the whole answer", waits, seconds),
  };
  const savedAt = (at) => usd(saved(rows[at])).textContent;

  const numbers = numberTable();
  const empty = el("p", { class: "empty" },
    "Nothing happened in this time. The first request to the data listener appears here.");
  const figure = (title, name) => el("div", { class: "trend" }, el("h3", {}, title), charts[name].node);
  const grid = el("div", { class: "trends" }, figure("Spent, and what the hosted model would have cost", "money"),
    figure("Answered locally", "local"), figure("Failed attempts", "failed"),
    figure("Wait for the first event", "first"), figure("Wait for the whole answer", "whole"));
  const same = el("details", { id: "trend-numbers" }, el("summary", {}, "The same as a table"), numbers.node);
  return {
    node: el("div", {}, empty, grid, same),
    leave: () => Object.values(charts).forEach((one) => one.leave()),
    show({ rows: found, word, since }) {
      for (const part of [grid, same]) part.hidden = found.length === 0;
      empty.hidden = found.length > 0;
      [, length] = PIECES[word];
      numbers.show([...found].reverse(), length);
      if (found.length === 0) return;
      rows = whole(found, length, Date.parse(since) / 1_000);
      const places = rows.map((row) => row.seconds);
      const column = (pick) => rows.map(pick);
      const dollar = (name) => column((row) => Number(nanos(row[name])) / NANO);
      const show = (name, columns, said) => charts[name].show([places, ...columns], said, length);
      const sum = (pick) => rows.reduce((all, row) => all + pick(row), 0);
      const [spent, baseline] = ["cost_usd", "baseline_usd"].map((name) => add(rows.map((row) => nanos(row[name]))));
      show("money", [dollar("baseline_usd"), dollar("cost_usd")],
        `${text(spent)} spent, ${text(baseline)} at the baseline, ${text(add(rows.map(saved)))} saved.`);
      const [ok, local, failed, all] = [(row) => row.ended_well, (row) => row.ended_well_local, (row) => row.failed,
        (row) => row.answers].map(sum);
      show("local", [column(share)], `${percent(local, ok) || "none"} of ${count(ok)} answers.`);
      show("failed", [column((row) => row.failed)], `${count(failed)} of ${count(all)}.`);
      for (const [name, field] of [["first", "first_event_ms"], ["whole", "duration_ms"]]) {
        const known = rows.map((row) => row[field]).filter(Boolean);
        const most = (quantile) => ms(Math.max(...known.map((one) => one[quantile])));
        show(name, ["p50", "p95"].map((quantile) => column((row) => row[field]?.[quantile] ?? null)),
          known.length > 0 ? `the median was at most ${most("p50")} ms, 19 of 20 waited at most ${most("p95")} ms.` : "not known.");
      }
    },
  };
}

const text = (value) => usd(value).textContent;

// Every piece from the begin until now: those without a row are rows in which nothing happened.
function whole(found, length, since) {
  const known = new Map(found.map((row) => [Date.parse(row.time) / 1_000, row]));
  const first = Math.min(...known.keys(), Math.floor(since / length) * length);
  const last = Math.max(...known.keys(), Math.floor(Date.now() / 1_000 / length) * length);
  const nothing = { attempts: 0, cost_usd: "0", baseline_usd: "0", local_cost_usd: null, answers: 0, ended_well: 0,
    ended_well_local: 0, failed: 0, first_event_ms: null, duration_ms: null };
  return Array.from({ length: Math.round((last - first) / length) + 1 }, (_, at) => {
    const seconds = first + at * length;
    return { ...(known.get(seconds) ?? nothing), seconds };
  });
}

function numberTable() {
  let digits = 6;
  let length = 60;
  const pair = (name) => (row) => (row[name] ? `${ms(row[name].p50)} / ${ms(row[name].p95)}` : "–");
  const view = table({
    caption: "What happened over time",
    empty: "",
    key: (row) => row.time,
    columns: [
      { head: "From (UTC)", row: true, cell: (row) => moment(Date.parse(row.time) / 1_000, length) },
      { head: "Attempts", num: true, cell: (row) => count(row.attempts) },
      { head: "Spent, $", num: true, cell: (row) => amount(nanos(row.cost_usd), digits) },
      { head: "Baseline, $", num: true, wide: true, cell: (row) => amount(nanos(row.baseline_usd), digits) },
      { head: "Saved, $", num: true, cell: (row) => amount(saved(row), digits) },
      { head: "Locally", num: true, title: "Share of the answers that a local model gave",
        cell: (row) => (share(row) === null ? quiet("–") : `${fixed(share(row), 1)}%`) },
      { head: "Failed", num: true, cell: (row) => count(row.failed) },
      { head: "First event, ms", num: true, wide: true, title: "Median, and what 19 of 20 did not exceed", cell: pair("first_event_ms") },
      { head: "Whole answer, ms", num: true, wide: true, title: "Median, and what 19 of 20 did not exceed", cell: pair("duration_ms") },
    ],
  });
  return {
    node: view.node,
    show(rows, piece) {
      length = piece;
      digits = decimals(rows.flatMap((row) => [nanos(row.cost_usd), nanos(row.baseline_usd)]));
      view.show(rows, `${digits}${length}`);
    },
  };
}
