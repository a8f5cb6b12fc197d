// A decision: why, who was looked at, what struck them out, and what was known. The same for a request on the ledger and for
// one that is only tried in the playground.

import { amount, count, decimals, el, facts, fixed, ms, nanos, plain, quiet, route, table } from "./kit.js";

// What the reason word means.
export const REASONS = {
  classifier: "the classifier judged how much the strong model is needed",
  unsure: "the classifier gave no judgement, so the side configured for that case went first",
  pinned: "the client named the model",
  header: "the client narrowed the route",
  rule: "a configured rule narrowed or pinned the choice",
  only: "only one side is configured",
  fallback: "an earlier target failed before its first byte",
  cascade: "the first answer was not good enough",
  session: "its conversation is on this side, and the need has not moved enough to change it",
  tool_loop: "the same call of a tool failed again and again",
  exploration: "drawn to take the other side than the judgement says",
  experiment: "an experiment, or its result, put it on this side",
  holdout: "drawn for the control group that measures savings",
  health: "what else could answer is down or loading",
  first_token: "what else could answer would take too long to begin",
  budget: "a budget does not suffice for anything else",
  context: "the prompt fits no other context window",
  capability: "nothing else can do what the request needs",
  price: "anything else is dearer than a request may be",
  allow_list: "the key may use nothing else",
  key_route: "the key may use this side only",
  key_class: "the key may not send data of this class elsewhere",
  rate_limit: "a rate limit is spent",
  residency: "the data may go nowhere else",
  route: "the choice was narrowed",
};

// The decision in a sentence.
export function verdict(story, chosen = "was chosen") {
  const { refusal, score, threshold } = story;
  if (refusal) return [el("strong", { class: "bad" }, `Refused by ${plain(refusal.by)}: `), refusal.message];
  const why = REASONS[story.reason] ?? plain(story.reason);
  const judged = typeof score === "number" && typeof threshold === "number" && story.reason === "classifier";
  const side = score >= threshold ? "not below" : "below";
  const needs = judged ? ` (${fixed(score, 2)}, ${side} the threshold ${fixed(threshold, 2)})` : "";
  const who = story.model ? [el("strong", {}, story.model), ` (${story.route}) ${chosen}: `]
    : ["No model answered. The first of the plan was chosen: "];
  const plan = (story.plan ?? []).length > 1 ? ` The plan was ${story.plan.join(", then ")}.` : "";
  return [...who, why, needs, ".", plan];
}

export function scale({ score, threshold }) {
  if (typeof score !== "number") return quiet("not judged");
  return typeof threshold === "number" ? `${fixed(score, 4)} (threshold ${fixed(threshold, 4)})` : fixed(score, 4);
}

export function candidates(story) {
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

// === Facts and signals ===

export function factList(known) {
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

export function signalList(signals) {
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

export function inWords(sentences) {
  if (!sentences?.length) return el("p", { class: "empty" }, "Nothing was decided.");
  return el("ul", {}, ...sentences.map((sentence) => el("li", {}, sentence)));
}
