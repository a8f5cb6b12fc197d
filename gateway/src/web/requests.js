// Requests: the latest as they come, and one request's whole story.
//
// The first page of the list follows what happens; older pages stand still, so that they can be read.

import { get } from "./api.js";
import { add, amount, choice, count, decimals, el, facts, fixed, hidden, ms, nanos, plain, quiet, route, section,
  table, time } from "./kit.js";

const PAGE = 50;
const ROUTES = [["", "All"], ["local", "Local"], ["hosted", "Hosted"], ["none", "None (refused)"]];
const SPANS = [["", "Any time"], ["15", "Last 15 minutes"], ["60", "Last hour"], ["1440", "Last 24 hours"],
  ["10080", "Last 7 days"]];

// What the reason word means.
const REASONS = {
  classifier: "the classifier judged how much the strong model is needed",
  unsure: "the classifier gave no judgement, so the side configured for that case went first",
  pinned: "the client named the model",
  header: "the client narrowed the route",
  rule: "a configured rule narrowed or pinned the choice",
  only: "only one side is configured",
  fallback: "an earlier target failed before its first byte",
  cascade: "the first answer was not good enough",
  holdout: "drawn for the control group that measures savings",
  health: "what else could answer is down or loading",
  first_token: "what else could answer would take too long to begin",
  budget: "a budget does not suffice for anything else",
  context: "the prompt fits no other context window",
  capability: "nothing else can do what the request needs",
  price: "anything else is dearer than a request may be",
  allow_list: "the key may use nothing else",
  residency: "the data may go nowhere else",
  route: "the choice was narrowed",
};

const address = (id) => `#/requests/${encodeURIComponent(id)}`;

// === The list ===

export function requests(app, words) {
  let asked = words;
  let latest = null;
  const view = table({
    caption: "Latest requests",
    empty: "No request matches. Requests to the data listener appear here as they end.",
    key: (row) => row.id,
    open: (id) => {
      location.hash = address(id);
    },
    columns: [
      { head: "Time", row: true,
        cell: (row) => el("a", { href: address(row.id), id: `r-${row.id}` }, time(row.time, true)) },
      { head: "Status", cell: status },
      { head: "Route", cell: (row) => route(row.route) },
      { head: "Model", cell: (row) => row.model ?? quiet("none") },
      { head: "Asked for", wide: true, cell: (row) => row.asked },
      { head: "Reason", wide: true, cell: (row) => el("span", { title: REASONS[row.reason] }, plain(row.reason)) },
      { head: "Score", num: true, wide: true, title: "How much the strong model is needed, 0 to 1",
        cell: (row) => fixed(row.score, 2) },
      { head: "Class", wide: true, cell: (row) => row.class },
      { head: "Key or team", wide: true, cell: (row) => row.key ?? row.team ?? "" },
      { head: "In", num: true, wide: true, title: "Input tokens", cell: (row) => count(row.input_tokens) },
      { head: "Out", num: true, wide: true, title: "Output tokens", cell: (row) => count(row.output_tokens) },
      { head: "Cost, $", num: true, cell: cost },
      { head: "ms", num: true, wide: true, title: "Duration", cell: (row) => ms(row.duration_ms) },
    ],
  });
  const find = el("input", { id: "find", type: "search", autocomplete: "off", spellcheck: "false",
    placeholder: "x-sluice-request-id" });
  const finder = el("form", { class: "field", role: "search", on: { submit: (event) => {
    event.preventDefault();
    if (find.value.trim()) location.hash = address(find.value.trim());
  } } }, el("label", { for: "find" }, "Request id"), el("div", { class: "joined" }, find, el("button", {}, "Open")));
  const newer = el("button", { type: "button", on: { click: () => go(null) } }, "Newest");
  const older = el("button", { type: "button", on: { click: () => go(older.value) } }, "Older");
  const go = (before) => {
    app.say({ before });
    scrollTo(0, 0);
    document.querySelector("h1").focus({ preventScroll: true });
  };
  const note = el("p", { class: "quiet" });

  const page = {
    title: "Requests",
    node: el("div", {}, el("div", { class: "filters" },
      choice("route", "Route", ROUTES, words.route ?? "", (value) => app.say({ route: value, before: null })),
      choice("span", "Time", SPANS, words.span ?? "", (value) => app.say({ span: value, before: null })),
      finder), view.node, note, el("div", { class: "actions" }, newer, older)),
    every: words.before ? 0 : 4_000,
    follow(words) {
      asked = words;
      latest = null;
      page.every = words.before ? 0 : 4_000;
      for (const name of ["route", "span"]) document.getElementById(name).value = words[name] ?? "";
    },
    load(signal) {
      const minutes = Number(asked.span);
      const since = minutes > 0 ? new Date(Date.now() - minutes * 60_000).toISOString() : null;
      return get("/api/requests", { route: asked.route, since, before: asked.before, limit: PAGE }, signal);
    },
    show({ requests, next }) {
      view.show(requests);
      older.value = next ?? "";
      older.hidden = !next;
      newer.hidden = !asked.before;
      note.textContent = asked.before ? "Older requests; this list stands still." : "";
      const known = latest;
      latest = new Set(requests.map((row) => row.id));
      const fresh = known ? requests.filter((row) => !known.has(row.id)).length : 0;
      if (fresh > 0 && !asked.before) app.announce(`${fresh} new ${fresh === 1 ? "request" : "requests"}`);
      remember(location.hash);
    },
  };
  return page;
}

function status(row) {
  if (row.status === 0) return quiet("running");
  return el("span", { class: row.status < 400 ? "good" : "bad" }, String(row.status));
}

function cost(row) {
  if (row.cost_usd !== null && row.cost_usd !== undefined) return amount(nanos(row.cost_usd));
  return row.route ? quiet("unpriced") : "";
}

// The way back from a story to the list as it was.
let listed = "#/requests";
const remember = (hash) => {
  listed = hash || listed;
};

// === One request ===

export function request(app, { id }) {
  const body = el("div");
  let drawn = "";
  const page = {
    title: `Request ${id}`,
    heading: [hidden("Request "), el("code", {}, id)],
    node: el("div", {}, el("p", {}, el("a", { href: listed }, "Back to requests")), body),
    every: 2_000,
    load: (signal) => get(`/api/requests/${encodeURIComponent(id)}`, {}, signal),
    show(story) {
      const attempts = story.attempt_log ?? [];
      const running = story.status === 0 || attempts.some((attempt) => !attempt.ended);
      page.every = running ? 2_000 : 0;
      const seen = JSON.stringify(story);
      if (seen === drawn) return;
      if (drawn !== "") app.announce("The story of this request went on.");
      drawn = seen;
      body.replaceChildren(summary(story, attempts), section("In words", inWords(story.explanation)),
        section("Candidates", candidates(story)),
        section("Attempts", attemptTable(attempts)),
        el("div", { class: "pair" }, section("Facts", factList(story.facts)),
          section("Signals", signalList(story.signals))),
        el("details", {}, el("summary", {}, "The whole record as JSON"),
          el("pre", { tabindex: "0" }, JSON.stringify(story, null, 2))));
    },
  };
  return page;
}

function summary(story, attempts) {
  const tokens = (name) => story[name] ?? attempts.reduce((all, attempt) => all + (attempt[name] ?? 0), 0);
  const paid = attempts.map((attempt) => nanos(attempt.cost_usd));
  const summed = paid.includes(null) ? null : add(paid);
  const cost = story.cost_usd === undefined ? summed : nanos(story.cost_usd);
  const ends = attempts.map((attempt) => Date.parse(attempt.ended)).filter(Number.isFinite);
  const took = story.duration_ms ?? (ends.length ? Math.max(...ends) - Date.parse(story.time) : null);
  const tags = Object.entries(story.tags ?? {}).map(([key, value]) => `${key}=${value}`).join(", ");
  return el("div", {}, el("p", { class: "lead" }, verdict(story)), facts([
    ["Status", status(story)], ["Time", time(story.time)], ["Duration", took === null ? null : `${ms(took)} ms`],
    ["Route", route(story.route)], ["Model", story.model ?? quiet("none")], ["Asked for", story.asked],
    ["Endpoint", story.endpoint], ["Reason", plain(story.reason)],
    ["Score", scale(story)], ["Data class", story.class],
    ["Cost", attempts.length === 0 ? null : cost === null ? quiet("unpriced") : ["$", amount(cost)]],
    ["Tokens", attempts.length > 0 && `${count(tokens("input_tokens"))} in, ${count(tokens("output_tokens"))} out`],
    ["Key", story.key], ["Team", story.team], ["User", story.user], ["Session", story.session], ["Tags", tags],
  ]));
}

// The decision in a sentence.
function verdict(story) {
  const { refusal, score, threshold } = story;
  if (refusal) return [el("strong", { class: "bad" }, `Refused by ${plain(refusal.by)}: `), refusal.message];
  const why = REASONS[story.reason] ?? plain(story.reason);
  const judged = typeof score === "number" && typeof threshold === "number" && story.reason === "classifier";
  const side = score >= threshold ? "not below" : "below";
  const needs = judged ? ` (${fixed(score, 2)}, ${side} the threshold ${fixed(threshold, 2)})` : "";
  const who = story.model ? [el("strong", {}, story.model), ` (${story.route}) was chosen: `]
    : ["No model answered. The first of the plan was chosen: "];
  const plan = (story.plan ?? []).length > 1 ? ` The plan was ${story.plan.join(", then ")}.` : "";
  return [...who, why, needs, ".", plan];
}

function scale({ score, threshold }) {
  if (typeof score !== "number") return quiet("not judged");
  return typeof threshold === "number" ? `${fixed(score, 4)} (threshold ${fixed(threshold, 4)})` : fixed(score, 4);
}

function candidates(story) {
  const place = (row) => row.rank ?? 1_000;
  const rows = [...(story.candidates ?? [])].sort((one, other) => place(one) - place(other));
  const digits = decimals(rows.map((row) => nanos(row.ceiling_usd)));
  const view = table({
    caption: "Every candidate and what struck it out",
    empty: "No candidate was looked at.",
    stack: true,
    key: (row) => row.model,
    columns: [
      { head: "Plan", num: true, title: "Place in the plan",
        cell: (row) => (typeof row.rank === "number" ? String(row.rank + 1) : "–") },
      { head: "Model", row: true, cell: (row) => [row.model, el("span", { class: "under" }, row.provider)] },
      { head: "Route", cell: (row) => route(row.route) },
      { head: "Region", cell: (row) => row.region ?? "" },
      { head: "Verdict", cell: strikes },
      { head: "At most, $", num: true, title: "The most this request can cost with it",
        cell: (row) => amount(nanos(row.ceiling_usd), digits) },
      { head: "Price from", cell: (row) => plain(row.price_source) },
      { head: "First token in, ms", num: true, title: "Predicted", cell: (row) => ms(row.first_token_in_ms) || "–" },
    ],
  });
  view.show(rows);
  return view.node;
}

function strikes(row) {
  if (row.admitted) return el("span", { class: "good" }, "admitted");
  const all = row.strikes?.length ? row.strikes : [{ by: row.refused_by, detail: row.refused_because }];
  return all.map((strike) => el("span", { class: "strike" },
    el("strong", { class: "bad" }, plain(strike.by)), strike.detail ? `: ${strike.detail}` : ""));
}

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
      { head: "No.", num: true, cell: (row) => String(row.attempt) },
      { head: "Model", row: true, cell: (row) => [row.model, el("span", { class: "under" },
        [row.provider, row.upstream_model !== row.model && row.upstream_model].filter(Boolean).join(" · "))] },
      { head: "For", cell: (row) => row.purpose },
      { head: "Outcome", cell: (row) => outcome(row) },
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

// === Facts and signals ===

function factList(known) {
  if (!known) return el("p", { class: "empty" }, "None are on record.");
  return facts(Object.entries(known).map(([name, value]) => [plain(name), FACTS[name]?.(value) || worded(value)]));
}

const FACTS = {
  prompt_tokens: (size) => typeof size === "object" && size !== null
    && `about ${count(size.likely)} (at least ${count(size.floor)}, at most ${count(size.ceiling)})`,
  needs: (needs) => Object.entries(needs ?? {}).map(([name, value]) => (value === true ? plain(name)
    : value > 1 && `${value} ${plain(name)}`)).filter(Boolean).join(", ") || "nothing special",
  output_ceiling: (most) => (most === null ? "none given" : count(most)),
};

function inWords(sentences) {
  if (!sentences?.length) return el("p", { class: "empty" }, "Nothing was decided.");
  return el("ul", {}, ...sentences.map((sentence) => el("li", {}, sentence)));
}

function signalList(signals) {
  if (!signals) return el("p", { class: "empty" }, "Nothing was judged: only one side was left, or the client chose.");
  const { need, judged_by, abstained, unread_bytes, features = [], ...more } = signals;
  return facts([
    ["need of the strong model", typeof need === "number" ? fixed(need, 4) : quiet("no judgement")],
    ["judged by", plain(judged_by)], ["abstained", abstained && plain(abstained)],
    ["unread", unread_bytes > 0 ? `${count(unread_bytes)} bytes` : null],
    ...features.map(([name, value]) => [plain(name), fixed(value, 3)]),
    ...Object.entries(more).map(([name, value]) => [plain(name), worded(value)]),
  ]);
}

function worded(value) {
  if (value === null || value === undefined) return null;
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value === "number") return Number.isInteger(value) ? count(value) : String(value);
  if (Array.isArray(value)) return value.map((item) => worded(item)).join(", ") || null;
  if (typeof value !== "object") return String(value);
  return Object.entries(value).map(([name, item]) => `${plain(name)} ${worded(item)}`).join(", ") || null;
}
