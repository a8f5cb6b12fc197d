// Overview: what was spent and saved, how much stayed local, how fast, how well, and where the money went.
//
// Days are UTC days, as on the ledger; the three cards sum the rows of one answer.

import { gather, get } from "./api.js";
import { add, amount, choice, count, decimals, el, facts, ms, nanos, percent, quiet, reconcile, route, section, svg,
  table, usd, utcDay } from "./kit.js";
import { load as series, trends } from "./trends.js";

const SPANS = [["today", "Today", 1], ["week", "Last 7 days", 7], ["month", "Last 30 days", 30]];
// What can be looked at below the cards.
const SHOWN = [["hour", "Last hour"], ...SPANS.map(([word, title]) => [word, title])];
const HOUR_MS = 3_600_000;
const GROUPS = [["model", "Model"], ["provider", "Provider"], ["route", "Route"], ["key", "Key"], ["team", "Team"],
  ["tag", "Tag"], ["day", "Day"]];
const MOST_ROWS = 100;
const SAVINGS_EVERY = 300_000;

const since = (days) => utcDay(days - 1).toISOString();
// When a span begins; the last hour at a whole minute.
function begin(word) {
  const span = SPANS.find(([name]) => name === word);
  return span ? since(span[2]) : new Date(Math.floor((Date.now() - HOUR_MS) / 60_000 + 1) * 60_000).toISOString();
}
const saved = (row) => nanos(row.baseline_usd) - nanos(row.cost_usd) - (nanos(row.local_cost_usd) ?? 0n);
const LOCAL = "Energy and hardware of the local machine; – where [local_cost] is not set";

export function overview(app, words) {
  let span = "week";
  let by = "model";
  follow(words);

  const cards = el("div", { class: "cards" });
  const chart = trends();
  const quality = qualityTable();
  const spend = spendTable();
  const savings = savingsPanel();
  const problem = el("p", { class: "bad" });
  const spans = SHOWN.map(([word, text]) => el("label", {},
    el("input", { type: "radio", name: "span", value: word, checked: word === span,
      on: { change: () => app.say({ span: word }) } }), text));
  const grouping = choice("group-by", "By", GROUPS, by, (value) => app.say({ by: value }));
  const node = el("div", {}, problem, cards,
    el("fieldset", { class: "segments" }, el("legend", {}, "Show"), spans),
    section("Over time", chart.node),
    section("Savings", savings.node),
    section("Routes", quality.node),
    section("Where the money went", grouping, spend.node));

  function follow(words) {
    span = SHOWN.some(([word]) => word === words.span) ? words.span : "week";
    by = GROUPS.some(([word]) => word === words.by) ? words.by : "model";
    for (const input of document.getElementsByName("span")) input.checked = input.value === span;
    const select = document.getElementById("group-by");
    if (select) select.value = by;
  }

  return {
    title: "Overview",
    node,
    every: 15_000,
    follow,
    leave: chart.leave,
    load(signal) {
      const from = begin(span);
      const counts = SHOWN.filter(([word]) => word !== "hour" || span === "hour")
        .map(([word]) => [word, get("/api/overview", { since: begin(word) }, signal)]);
      return gather({
        days: get("/api/spend", { group_by: "day", since: since(30) }, signal),
        series: series(span, from, signal),
        savings: savings.load(span, from, signal),
        groups: get("/api/spend", { group_by: by, since: from }, signal),
        ...Object.fromEntries(counts),
      }).then((ends) => ({ ends, span, by }));
    },
    show({ ends, span, by }) {
      const failed = Object.values(ends).find((end) => end.error);
      problem.textContent = failed ? `Part of this page is missing: ${failed.error.message}` : "";
      const days = ends.days.data?.rows ?? [];
      const drawn = SPANS.map(([word, title, length]) => ({ word, title, routes: ends[word].data?.routes ?? null,
        days: ends.days.data && days.filter((row) => row.group >= since(length).slice(0, 10)) }));
      reconcile(cards, drawn, { key: (card) => card.word, build: card });
      if (ends.series.data) chart.show(ends.series.data);
      quality.show(ends[span].data?.routes ?? []);
      spend.show(ends.groups.data, by);
      savings.show(ends.savings.data ?? null);
      const about = ends[span].data;
      if (about?.version) app.about(about.version, about.started?.slice(0, 16).replace("T", " ").concat(" UTC"));
    },
  };
}

// === The three spans ===

function card({ title, days, routes }) {
  const cost = days && add(days.map((row) => nanos(row.cost_usd)));
  const baseline = days && add(days.map((row) => nanos(row.baseline_usd)));
  const local = days && add(days.map((row) => nanos(row.local_cost_usd)));
  const saving = days && baseline - cost - local;
  const unpriced = days?.reduce((sum, row) => sum + row.unpriced_requests, 0);
  const sum = (pick) => (routes ?? []).filter(pick).reduce((all, row) => all + row.attempts, 0);
  const ok = sum((row) => row.outcome === "ok");
  const stayed = sum((row) => row.outcome === "ok" && row.route === "local");
  const wrong = sum((row) => FAILED.includes(row.outcome));
  const digits = days && decimals([cost, baseline]);
  const share = percent(stayed, ok);
  return el("section", { class: "card", "aria-label": title },
    el("h2", {}, title),
    days && el("p", { class: "big" }, usd(saving, digits), " ",
      quiet(["saved", percent(saving, baseline)].filter(Boolean).join(" "))),
    facts([
      ["Spent", days && usd(cost, digits)],
      ["Local machine", days && local > 0n && usd(local, digits)],
      ["Baseline", days && usd(baseline, digits)],
      ["Failed attempts", routes && [count(wrong), wrong > 0 ? ` (${percent(wrong, sum(() => true))})` : ""].join("")],
      ["Answered locally", routes && (ok > 0 ? `${share} of ${count(ok)}` : "–")],
    ]),
    routes && ok > 0 && bar(stayed / ok, `${share} answered locally`),
    unpriced > 0 && el("p", { class: "quiet" }, `Without ${count(unpriced)} attempts that have no price.`));
}

export function bar(share, label, kind = "local") {
  const width = `${Math.min(100, Math.max(0, share * 100)).toFixed(2)}%`;
  return svg("svg", { class: "share", role: "img", "aria-label": label, width: "100%", height: "6" },
    svg("rect", { class: "track", width: "100%", height: "6" }), svg("rect", { class: kind, width, height: "6" }));
}

// === Routes ===

// `disconnected` is the client's own doing; `rejected` and `cancelled` are the cascade's, which had no use for them.
const FAILED = ["error", "truncated", "unknown"];
const STOPPED = "The gateway stopped while it ran";
const UNUSED = "Local answers that were not good enough, and hosted calls begun beside those that were";
const MEAN = "Mean of attempts that ended well";

function qualityTable() {
  const of = (row, outcome) => count(row[outcome] ?? 0);
  const view = table({
    caption: "Attempts, failures and times per route",
    empty: "No attempts in this span.",
    key: (row) => row.route,
    columns: [
      { head: "Route", row: true, cell: (row) => route(row.route) },
      { head: "Attempts", num: true, wide: true, cell: (row) => count(row.all) },
      { head: "Ended well", num: true, cell: (row) => of(row, "ok") },
      { head: "Error", num: true, cell: (row) => of(row, "error") },
      { head: "Cut off", num: true, wide: true, title: "Broken off in the midst, or ended by a budget",
        cell: (row) => count((row.truncated ?? 0) + (row.ended ?? 0)) },
      { head: "Not used", num: true, wide: true, title: UNUSED, cell: (row) => count((row.rejected ?? 0) + (row.cancelled ?? 0)) },
      { head: "Client left", num: true, wide: true, cell: (row) => of(row, "disconnected") },
      { head: "Unknown", num: true, wide: true, title: STOPPED, cell: (row) => of(row, "unknown") },
      { head: "Failed", num: true, cell: (row) => percent(row.failed, row.all) },
      { head: "First event, ms", num: true, title: MEAN, cell: (row) => ms(row.first) || "–" },
      { head: "Duration, ms", num: true, title: MEAN, cell: (row) => ms(row.duration) || "–" },
    ],
  });
  const note = el("p", { class: "quiet" }, "Counts are attempts of answers; a request that fell back has several. ",
    "Failed: error, cut off or unknown. Times are means of the attempts that ended well.");
  return {
    node: el("div", {}, view.node, note),
    show(rows) {
      const routes = new Map();
      for (const row of rows) {
        const sum = routes.get(row.route) ?? { route: row.route, all: 0, failed: 0, first: null, duration: null };
        routes.set(row.route, sum);
        sum.all += row.attempts;
        sum[row.outcome] = (sum[row.outcome] ?? 0) + row.attempts;
        if (FAILED.includes(row.outcome)) sum.failed += row.attempts;
        if (row.outcome === "ok") [sum.first, sum.duration] = [row.first_event_ms, row.duration_ms];
      }
      note.hidden = rows.length === 0;
      view.show([...routes.values()].sort((one, other) => (one.route < other.route ? 1 : -1)));
    },
  };
}

// === Savings ===

// The measured figure with its interval, or why there is none; the weaker one beside it.
//
// Every session of the span is read for it, so it is asked for now and then, and not with everything else.
function savingsPanel() {
  const node = el("div", {});
  let kept = { span: "", at: 0, data: null };
  return {
    node,
    async load(span, from, signal) {
      if (kept.span !== span || Date.now() - kept.at > SAVINGS_EVERY) {
        kept = { span, at: Date.now(), data: await get("/api/savings", { since: from }, signal) };
      }
      return kept.data;
    },
    show(data) {
      if (!data) return node.replaceChildren();
      const { measured, repriced } = data;
      const money = (text, digits) => usd(nanos(text), digits);
      const between = ({ low, high }) => [money(low), " to ", money(high)];
      const figure = (found) => [money(found.savings_usd), " ", quiet(["(", between(found.interval_usd), ")"])];
      const sessions = (arm) => `${count(arm.sessions)} sessions, ${count(arm.requests)} requests`;
      node.replaceChildren(
        facts([
          [`Measured, ${percent(measured.confidence, 1)} interval`,
            measured.savings_usd ? figure(measured) : quiet("not yet")],
          ["Adjusted for the first request's size", measured.adjusted && figure(measured.adjusted)],
          ["Re-priced, the weaker figure", money(repriced.savings_usd)],
          ["Routed as usual", measured.treatment.sessions > 0 && sessions(measured.treatment)],
          ["Held out", measured.holdout.sessions > 0 && sessions(measured.holdout)],
          ["In neither arm", measured.excluded.sessions > 0 && sessions(measured.excluded)],
        ], "roomy"),
        el("p", { class: "quiet" }, `Measured: ${measured.message}. Re-priced: ${repriced.note}.`));
    },
  };
}

// === Where the money went ===

function spendTable() {
  let digits = 6;
  const title = (row) => (row.total ? "Total" : row.group || quiet("(none)"));
  const money = (pick) => (row) => amount(pick(row), digits);
  const view = table({
    caption: "Spend per group",
    empty: "Nothing was spent in this span.",
    key: (row) => row.group ?? "",
    columns: [
      { head: "Group", row: true, cell: title },
      { head: "Attempts", num: true, cell: (row) => count(row.requests) },
      { head: "Input tokens", num: true, wide: true, cell: (row) => count(row.input_tokens) },
      { head: "Cached", num: true, wide: true, cell: (row) => count(row.cached_tokens) },
      { head: "Output tokens", num: true, wide: true, cell: (row) => count(row.output_tokens) },
      { head: "Unpriced", num: true, wide: true, cell: (row) => count(row.unpriced_requests) },
      { head: "Spent, $", num: true, cell: money((row) => nanos(row.cost_usd)) },
      { head: "Local cost, $", num: true, wide: true, title: LOCAL,
        cell: (row) => (row.local_cost_usd ? amount(nanos(row.local_cost_usd), digits) : quiet("–")) },
      { head: "Baseline, $", num: true, wide: true, cell: money((row) => nanos(row.baseline_usd)) },
      { head: "Saved, $", num: true, cell: money(saved) },
    ],
  });
  const note = el("p", { class: "quiet" });
  return {
    node: el("div", {}, view.node, note),
    show(data, by) {
      const rows = (data?.rows ?? []).slice(0, MOST_ROWS);
      if (by === "day") rows.sort((one, other) => (one.group < other.group ? 1 : -1));
      const sums = data ? [data.total, ...rows] : [];
      digits = decimals(sums.flatMap((row) => [nanos(row.cost_usd), nanos(row.baseline_usd)]));
      view.show(rows, `${digits}${by}`, data && { ...data.total, total: true });
      const more = (data?.rows.length ?? 0) - rows.length;
      note.textContent = [more > 0 && `${count(more)} more groups are in the total.`,
        by === "tag" && rows.length > 0 && "An attempt with several tags is in several rows, once in the total.",
        rows.length > 0 && "Baseline: what the same tokens cost at the hosted baseline model. "
          + "Saved: baseline − spent − local cost where it is known, shadow answers included."]
        .filter(Boolean).join(" ");
    },
  };
}
