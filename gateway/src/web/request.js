// Requests: one request's whole way on one screen.
//
// The class and what set it, the decision with every candidate and the rule that refused it, each attempt with its region,
// tokens and money, and the records of the evidence log.

import { download, get, text } from "./api.js";
import { candidates, factList, inWords, scale, signalList, verdict } from "./decision.js";
import { add, amount, count, decimals, el, facts, hidden, ms, nanos, plain, quiet, route, section, table, time,
  usd } from "./kit.js";
import { listed, status } from "./requests.js";

export function request(app, { id }) {
  const body = el("div");
  let drawn = "";
  let evidence = null;
  const page = {
    title: `Request ${id}`,
    heading: [hidden("Request "), el("code", {}, id)],
    node: el("div", {}, el("p", {}, el("a", { href: listed, id: "back" }, "Back to requests")), body),
    every: 2_000,
    async load(signal) {
      const story = await get(`/api/requests/${encodeURIComponent(id)}`, {}, signal);
      // Every export is signed anew, and has a time in it: one is enough once the request has ended.
      if (!evidence || evidence.running) evidence = await records(id, running(story), signal);
      return { story, evidence };
    },
    show({ story, evidence }) {
      const attempts = story.attempt_log ?? [];
      page.every = running(story) ? 2_000 : 0;
      const seen = JSON.stringify([story, evidence.rows]);
      if (seen === drawn) return;
      if (drawn !== "") app.announce("The story of this request went on.");
      drawn = seen;
      body.replaceChildren(summary(story, attempts), section("In words", inWords(story.explanation)),
        section("Data class", classOf(story)),
        section("Candidates", candidates(story)),
        section("Attempts", attemptTable(attempts)),
        section("Evidence", evidenceOf(id, evidence)),
        el("div", { class: "pair" }, section("Facts", factList(story.facts)),
          section("Signals", signalList(story.signals))),
        el("details", { id: "record" }, el("summary", {}, "The whole record as JSON"),
          el("pre", { tabindex: "0" }, JSON.stringify(story, null, 2))));
    },
  };
  return page;
}

const running = (story) => story.status === 0 || (story.attempt_log ?? []).some((attempt) => !attempt.ended);

// What set the class.
const SET_BY = {
  default: "the default of the configuration",
  header: "the client's header",
  content: "what was found in its content",
  unscanned: "content that could not be looked at",
  session: "an earlier turn of its session",
  matcher: "a configured matcher",
};

function classOf({ class: name, facts: known, withheld }) {
  if (withheld) return el("p", {}, el("strong", {}, name), ". More is not told here: ", withheld, ".");
  const found = (known?.detected ?? []).map((row) =>
    `${count(row.count)} × ${[plain(row.kind), row.variety && plain(row.variety)].filter(Boolean).join(" ")} (${row.class})`);
  return facts([
    ["Class", el("strong", {}, name)], ["Set by", SET_BY[known?.class_by] ?? plain(known?.class_by)],
    ["The client named", known?.class_named],
    ["Found in the content", known?.detected ? found.join(", ") || "nothing" : quiet("nobody looked")],
  ]);
}

// === Evidence ===

// The records of the evidence log on a request; `rows: null`: no log is kept.
async function records(id, running, signal) {
  try {
    const lines = await text("/api/evidence/export", { request: id }, signal);
    const parsed = lines?.split("\n").filter((line) => line !== "").map((line) => JSON.parse(line));
    return { running, rows: parsed ? parsed.flatMap((line) => line.record ?? []) : null };
  } catch (error) {
    if (signal.aborted || error.status === 401) throw error;
    return { running, rows: [], error: error.message };
  }
}

function evidenceOf(id, { rows, error }) {
  if (error) return el("p", { class: "bad" }, error);
  if (rows === null) return el("p", { class: "empty" }, "No evidence log is kept.");
  const view = table({
    caption: "Records of the evidence log on this request",
    empty: "No record yet.",
    stack: true,
    key: (row) => `${row.log} ${row.seq}`,
    columns: [
      { head: "No.", num: true, row: true, cell: (row) => count(row.seq) },
      { head: "Time", cell: (row) => time(row.at, true) },
      { head: "Event", cell: (row) => plain(row.event) },
      { head: "For", cell: (row) => plain(row.purpose) },
      { head: "Class", cell: (row) => row.class ?? "" },
      { head: "Set by", cell: (row) => plain(row.class_by) },
      { head: "To", cell: (row) => [row.model ?? row.sink ?? "", row.provider && el("span", { class: "under" }, row.provider)] },
      { head: "Where", cell: (row) => row.location && [route(row.location), row.region ? `, ${row.region}` : ""] },
      { head: "Rule", cell: (row) => row.rule ?? "" },
    ],
  });
  view.show(rows);
  const failed = el("p", { class: "bad", role: "alert" });
  const save = el("button", { type: "button", class: "small", id: "save-evidence", on: { click: () => {
    failed.textContent = "";
    download(`/api/evidence/export?request=${encodeURIComponent(id)}`, `evidence-${id}.jsonl`).catch((problem) => {
      failed.textContent = problem.message;
    });
  } } }, "Save with proofs");
  return el("div", {}, view.node, rows.length > 0 && el("div", { class: "actions start" }, save), failed);
}

// === What happened ===

function summary(story, attempts) {
  // What an experiment did beside the answer was not for the client, and is said by itself.
  const [own, beside] = [true, false].map((is) => attempts.filter((row) => (row.attempt < EXPERIMENTS) === is));
  const tokens = (rows) => ["input_tokens", "output_tokens"].map((name) =>
    count(rows.reduce((all, row) => all + (row[name] ?? 0), 0)));
  const both = (rows) => tokens(rows).map((size, at) => `${size} ${["in", "out"][at]}`).join(", ");
  const paid = (rows) => {
    const sums = rows.map((row) => nanos(row.cost_usd));
    return sums.includes(null) ? quiet("unpriced") : usd(add(sums));
  };
  const ends = attempts.map((attempt) => Date.parse(attempt.ended)).filter(Number.isFinite);
  const took = story.duration_ms ?? (ends.length ? Math.max(...ends) - Date.parse(story.time) : null);
  const tags = Object.entries(story.tags ?? {}).map(([key, value]) => `${key}=${value}`).join(", ");
  return el("div", {}, el("p", { class: "lead" }, verdict(story)), facts([
    ["Status", status(story)], ["Time", time(story.time)], ["Duration", took === null ? null : `${ms(took)} ms`],
    ["Route", route(story.route)], ["Model", story.model ?? quiet("none")], ["Asked for", story.asked],
    ["Endpoint", story.endpoint], ["Reason", plain(story.reason)],
    ["Score", scale(story)], ["Data class", story.class],
    ["Cost", own.length > 0 && paid(own)], ["Tokens", own.length > 0 && both(own)],
    ["Beside it, for comparing", beside.length > 0 && [paid(beside), `, ${both(beside)}`]],
    ["Experiment", story.experiment && [el("a", { href: `#/compare/${encodeURIComponent(story.experiment.name)}` },
      story.experiment.name), `, ${story.experiment.arm} arm: ${story.experiment.what}`]],
    ["Key", story.key], ["Team", story.team], ["User", story.user], ["Session", story.session], ["Tags", tags],
  ]));
}

// Attempts from this number on are an experiment's.
const EXPERIMENTS = 1_000;

function attemptTable(attempts) {
  const sums = attempts.flatMap((row) => [row.cost_usd, row.baseline_usd, row.ceiling_usd]);
  const digits = decimals(sums.map(nanos));
  const money = (row, name) => (row.ended ? amount(nanos(row[name]), digits) : "");
  const view = table({
    caption: "Attempts with tokens and money",
    empty: "Nothing was dialled.",
    stack: true,
    key: (row) => row.attempt,
    columns: [
      { head: "No.", num: true, cell: (row) => (row.attempt < EXPERIMENTS ? String(row.attempt) : quiet("–")) },
      { head: "Model", row: true, cell: (row) => [row.model, el("span", { class: "under" },
        [row.provider, row.upstream_model !== row.model && row.upstream_model].filter(Boolean).join(" · "))] },
      { head: "For", cell: (row) => row.purpose },
      { head: "Outcome", cell: (row) => outcome(row) },
      { head: "Region", cell: (row) => row.region ?? quiet(row.route === "local" ? "in the house" : "unknown") },
      { head: "Begun", cell: (row) => time(row.time, true) },
      { head: "First event, ms", num: true, cell: (row) => ms(row.first_event_ms) || "–" },
      { head: "Duration, ms", num: true,
        cell: (row) => (row.ended ? ms(Date.parse(row.ended) - Date.parse(row.time)) : "") },
      { head: "In", num: true, title: "Input tokens", cell: (row) => count(row.input_tokens) },
      { head: "Cached", num: true, title: "Input tokens read from a cache", cell: (row) => count(row.cached_tokens) },
      { head: "Out", num: true, title: "Output tokens", cell: (row) => count(row.output_tokens) },
      { head: "Reasoning", num: true, title: "Output tokens spent on reasoning",
        cell: (row) => count(row.reasoning_tokens) },
      { head: "Counted", cell: (row) => plain(row.counted) },
      { head: "At most, $", num: true, title: "Set aside before dialling",
        cell: (row) => amount(nanos(row.ceiling_usd), digits) },
      { head: "Cost, $", num: true, cell: (row) => money(row, "cost_usd") },
      { head: "Baseline, $", num: true, cell: (row) => (row.baseline_usd ? money(row, "baseline_usd") : "–") },
      { head: "Price from", cell: (row) => plain(row.price_source) },
    ],
  });
  view.show(attempts);
  return view.node;
}

function outcome(row) {
  if (!row.ended) return quiet("running");
  const kind = { ok: "good", cancelled: "quiet", ended: "quiet" }[row.outcome] ?? "bad";
  return [el("span", { class: kind }, plain(row.outcome)),
    row.error ? el("span", { class: "under" }, plain(row.error)) : null];
}
