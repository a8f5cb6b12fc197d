// Compare: what experiments have shown, and what was done about it.
//
// A verdict is said in words, with its interval; a mean without one is never shown, nor a bare percentage.

import { download, get, post } from "./api.js";
import { amount, count, decimals, el, exactly, facts, fixed, nanos, percent, plain, quiet, reconcile, section, table, time,
  usd } from "./kit.js";
import { course, strip, words } from "./interval.js";
import { article, fromShadow, signed } from "./pairs.js";

const VERDICTS = {
  not_worse: ["good", "not worse"],
  worse: ["bad", "worse"],
  not_yet_known: ["wait", "not yet known"],
};

const WITHHELD = {
  too_few_labels: "too few pairs were judged by people, too",
  disagrees: "it does not surely agree with people",
  prefers_a_place: "it prefers a place",
  inconsistent: "it contradicts itself when the answers are swapped",
  lenient: "it calls a tie what people decide",
};

// Pairs that are shown at first.
const FEW = 10;

const address = (name) => `#/compare/${encodeURIComponent(name)}`;
const api = (name, rest = "") => `/api/experiments/${encodeURIComponent(name)}${rest}`;

export function verdict(word) {
  const [kind, text] = VERDICTS[word] ?? ["wait", plain(word)];
  return el("span", { class: `state ${kind}` }, text);
}

// === All experiments ===

export function compare(app) {
  const list = el("div", { class: "cards" });
  const empty = el("p", { class: "empty" },
    "No experiment is configured. An [experiments.NAME] section has a share of requests answered by both sides, or puts "
    + "sessions on a side, and says whether one is as good as the other.");
  const others = el("div", { class: "pairs" });
  const rest = section("Pairs of experiments that are no longer configured", others);
  return {
    title: "Compare",
    node: el("div", {}, empty, list, rest),
    every: 15_000,
    load: (signal) => get("/api/experiments", {}, signal),
    show({ experiments, shadows }) {
      empty.hidden = experiments.length > 0;
      reconcile(list, experiments, { key: (row) => row.name, build: card });
      const known = new Set(experiments.map((row) => row.name));
      const lost = shadows.filter((pair) => !known.has(pair.experiment)).slice(0, 10);
      rest.hidden = lost.length === 0;
      const key = (pair) => `${pair.request_id} ${pair.experiment}`;
      reconcile(others, lost, { key, build: (pair) => article(fromShadow(pair), true) });
    },
  };
}

function card(row) {
  const { interval, mean, pairs, still } = standing(row);
  return el("section", { class: "card", "aria-label": row.name },
    el("h2", {}, el("a", { href: address(row.name) }, row.name), quiet(` ${row.kind}`)),
    el("p", { class: "big" }, verdict(row.verdict)),
    el("p", {}, sentence(row)),
    interval && strip(interval, mean, row.question.margin),
    facts([
      ["Difference", interval && words(interval)], ["Pairs", pairs],
      ["Sessions", row.arms && both(row.arms, (arm) => arm.sessions)],
      ["Requests", row.arms && both(row.arms, (arm) => arm.requests)],
      ["Drawn as the shares say", row.arms && fairness(row.draw)],
      ["Still needed", still], ["Spent today", money(row)],
      ["Open slices", row.act ? count(row.opened.length) : null],
    ]));
}

// What an experiment of either kind says in the same words.
function standing(row) {
  if (row.kind === "split") {
    const labels = row.labels && `${count(row.labels.left)} left, ${count(row.labels.right)} right (labels)`;
    return { interval: row.interval, mean: null, pairs: labels, still: null };
  }
  const { whole } = row;
  const judged = whole.pairs < row.recorded ? ` of ${count(row.recorded)} judged` : "";
  return { interval: whole.pairs > 0 && whole.interval, mean: whole.mean, pairs: `${count(whole.pairs)}${judged}`,
    still: row.verdict === "not_yet_known" ? forecast(whole) : null };
}

const forecast = ({ still_needed: more }) => (more === null || more === undefined ? "nobody can tell yet"
  : `about ${count(more)} ${more === 1 ? "pair" : "pairs"}, if they go on like this`);

// After the verdict: what it is about.
function sentence(row) {
  const [left, right] = [row.left, row.right].map((side) => el("strong", {}, side));
  const margin = ` by a margin of ${fixed(row.question.margin, 3)} of a score of 0 to 1.`;
  if (row.verdict === "not_yet_known") return ["whether ", left, " is not worse than ", right, margin];
  return [left, ` is ${VERDICTS[row.verdict]?.[1] ?? plain(row.verdict)} than `, right, margin];
}

function money(row) {
  if (row.kind === "split") return null;
  const spent = usd(nanos(row.spent_today_usd));
  return row.max_usd_per_day === null ? spent : [spent, " of ", exactly(nanos(row.max_usd_per_day))];
}

// === One experiment ===

export function experiment(app, { id: name }) {
  const top = el("div");
  const trust = el("div");
  const chart = course();
  const slices = sliceTable((slice, opened) => step(slice, opened, null));
  const steps = stepTable((row) => step(row.slice, !row.opened, row));
  const marking = el("input", { type: "checkbox", id: "marking", checked: true, on: { change: () => draw() } });
  const list = el("div", { class: "pairs" });
  const none = el("p", { class: "empty" }, "This experiment has no pairs yet.");
  // A page of a few first: each is a prompt and two answers.
  let shown = FEW;
  const more = el("button", { type: "button", id: "more-pairs", on: { click: () => {
    const first = list.children.length;
    shown = Infinity;
    draw();
    // Who came here by keyboard goes on with the first of the new ones.
    list.children[first]?.querySelector("a")?.focus();
  } } });
  const note = el("p", { class: "quiet" });
  const failed = el("p", { class: "bad", role: "alert" });
  const save = el("button", { type: "button", id: "export", on: { click: async () => {
    failed.textContent = "";
    try {
      await download(api(name, "/export"), `${name}.jsonl`);
    } catch (error) {
      failed.textContent = error.message;
    }
  } } }, "Export as JSON Lines");
  const vote = el("a", { href: `#/vote/${encodeURIComponent(name)}`, id: "to-vote" }, "Vote blind");
  const shadow = [section("The mean difference", chart.node), section("Slices", slices.node)];
  const arms = armTable();
  const split = section("Arms", arms.node);
  const acted = section("What was opened and closed", steps.node);
  const pairs = section("Pairs", el("div", { class: "filters" },
    el("label", { class: "check", for: "marking" }, marking, "Mark differing words"), vote, save), none, list, more, note);
  let last = { pairs: [] };

  // Asks first: a slice that is opened moves traffic.
  async function step(slice, opened, undone) {
    const what = `${slice.by} ${slice.value}`;
    const title = undone ? `Undo: ${opened ? "open" : "close"} ${what}?` : `${opened ? "Open" : "Close"} ${what}?`;
    const text = opened ? "Its requests go to the left side from now on, where no constraint is against it."
      : "Its requests are routed as usual from now on. It stays closed until somebody opens it.";
    if (!await app.confirm({ title, text, yes: opened ? "Open it" : "Close it" })) return;
    failed.textContent = "";
    try {
      const why = undone ? "undone on the page" : "by hand on the page";
      await post("/api/experiments", { experiment: name, slice: { by: slice.by, value: slice.value }, opened, why });
      app.announce(`${what} is ${opened ? "open" : "closed"}.`);
    } catch (error) {
      failed.textContent = error.message;
    }
    app.refresh();
  }

  function draw() {
    none.hidden = last.pairs.length > 0;
    const hidden = last.pairs.length - Math.min(shown, last.pairs.length);
    more.hidden = hidden === 0;
    more.textContent = `Show ${count(hidden)} more`;
    note.textContent = last.recorded > last.pairs.length
      ? `The latest ${count(last.pairs.length)} of ${count(last.recorded)} pairs; the export has all.` : "";
    reconcile(list, last.pairs.slice(0, shown), { key: (pair) => pair.request_id, build: (pair) => article(pair, marking.checked),
      extra: marking.checked });
  }

  return {
    title: `Compare ${name}`,
    heading: name,
    node: el("div", {}, el("p", {}, el("a", { href: "#/compare", id: "back" }, "Back to all experiments")), failed, top, trust,
      split, ...shadow, acted, pairs),
    every: 10_000,
    leave: chart.leave,
    load: (signal) => get(api(name), {}, signal),
    show(row) {
      top.replaceChildren(...head(row));
      for (const part of [...shadow, pairs]) part.hidden = row.kind === "split";
      split.hidden = row.kind !== "split";
      acted.hidden = !row.act;
      if (row.kind === "split") return arms.show(row);
      trust.replaceChildren(...judge(row));
      chart.show(row.course, row.question.margin);
      slices.show(row);
      steps.show(row.steps);
      last = row;
      draw();
    },
  };
}

function head(row) {
  const { interval, mean, pairs, still } = standing(row);
  const [won, tied, lost] = row.whole?.tally ?? [];
  return [
    el("p", { class: "lead" }, verdict(row.verdict), ": ", sentence(row)),
    row.reopened ? el("p", { class: "wait" }, "The question was opened again ", time(row.reopened.time), ": ",
      plain(row.reopened.why), ". Only later pairs count.") : "",
    facts([
      ["Kind", row.kind], ["Left", row.left], ["Right", row.right], ["System prompt of the left side", row.left_system],
      ["Judge", row.kind !== "split" && plain(row.judge)],
      ["Difference", interval && [typeof mean === "number" ? `${signed(mean)}, ` : "", words(interval)]],
      ["Pairs", pairs], ["Left better, tie, right better", row.whole && `${count(won)}, ${count(tied)}, ${count(lost)}`],
      ["Still needed", still], ["Margin", fixed(row.question.margin, 3)],
      ["Wrong at any look, at most", fixed(row.question.error, 3)], ["Money of the day", money(row)],
      ["Acts by itself", row.act ? "yes" : "no"],
    ]),
  ];
}

// What each arm of a split does, who was in it, and what became of its requests.
function armTable() {
  let digits = 6;
  const columns = (more) => [{ head: "Arm", row: true, cell: (row) => row.arm }, ...more];
  const common = { empty: "", stack: true, key: (row) => row.arm };
  const does = table({ ...common, caption: "What each arm does", columns: columns([
    { head: "Side", cell: (row) => row.side ?? usual("as decided") },
    { head: "Model", cell: (row) => row.model ?? usual("as decided") },
    { head: "System prompt", cell: (row) => (row.system ? el("code", { title: "The beginning of its SHA-256" }, row.system)
      : usual("the request's own")) },
    { head: "Threshold", cell: threshold },
    { head: "Share of sessions", num: true, cell: (row) => percent(row.share, 1) },
  ]) });
  const got = table({ ...common, caption: "Sessions, requests, labels and money of each arm", columns: columns([
    { head: "Sessions", num: true, cell: (row) => [count(row.sessions), " ", quiet(percent(row.sessions, row.of))] },
    { head: "Requests", num: true, cell: (row) => count(row.requests) },
    { head: "Answered", num: true, cell: (row) => count(row.answered) },
    { head: "By the arm itself", num: true, cell: (row) => [count(row.served), " ", quiet(percent(row.served, row.requests))] },
    { head: "Answered hosted", num: true, cell: (row) => [count(row.hosted), " ", quiet(percent(row.hosted, row.answered))] },
    { head: "Labels that count", num: true, cell: (row) => count(row.labels) },
    { head: "Labels in all", num: true, cell: (row) => count(row.all_labels) },
    { head: "Cost, $", num: true, cell: (row) => amount(nanos(row.cost_usd), digits) },
  ]) });
  const drawn = el("p", { id: "draw" });
  const verdicts = el("div", { id: "verdicts" });
  const note = el("p", { class: "quiet" });
  return {
    node: el("div", {}, does.node, got.node, drawn, verdicts, note),
    show(row) {
      const { arms, labels, counts, intention_to_treat: intended } = row;
      const of = arms.left.sessions + arms.right.sessions;
      const rows = ["left", "right"].map((arm) =>
        ({ arm, of, ...arms[arm], labels: labels[arm], all_labels: intended.labels[arm] }));
      digits = decimals(rows.map((row) => nanos(row.cost_usd)));
      does.show(rows);
      got.show(rows, digits);
      drawn.replaceChildren("Sessions fell as the shares say: ", fairness(row.draw), ".");
      verdicts.replaceChildren(facts([
        ["What each arm itself answered (this is the verdict)", [verdict(row.verdict), " ", words(row.interval)]],
        ["All that was put in it, whoever answered", [verdict(intended.verdict), " ", words(intended.interval)]],
      ], "roomy"));
      note.textContent = `Labels that count: ${counts.map((word) => SOURCES[word] ?? plain(word)).join(", and ")}.`;
    },
  };
}

const usual = (text) => quiet(text);

function threshold({ hosted_share: share, cut }) {
  if (typeof share === "number") return `${percent(share, 1)} of what is judged goes hosted`;
  if (typeof cut === "number") return `from a score of ${cut} on hosted`;
  return usual("the router's");
}

// So much in the left and in the right arm.
const both = (arms, pick) => `${count(pick(arms.left))} left, ${count(pick(arms.right))} right`;

// Below this a draw was hardly fair: somebody loses sessions of one arm before they are counted.
const UNFAIR = 0.001;

function fairness(draw) {
  if (!draw) return quiet("nothing was drawn yet");
  const { chi_squared: statistic, p_value: p } = draw;
  const said = `chi-squared ${fixed(statistic, 2)}, p ${p < 0.001 ? "below 0.001" : `= ${fixed(p, 3)}`}`;
  return p < UNFAIR ? el("span", { class: "bad" }, `hardly, ${said}: do not trust the verdict`) : said;
}

const SOURCES = {
  feedback: "what clients say of an answer",
  implicit: "whether the session asks the same again",
};

// What is known of a model as judge.
function judge({ judge_trust: trust }) {
  if (!trust) return [];
  const why = trust.withheld.map((word) => WITHHELD[word] ?? plain(word)).join("; ");
  const said = trust.withheld.length === 0 ? el("p", { class: "good" }, "People agree with it: its word counts.")
    : el("p", { class: "wait" }, `Its word does not count yet: ${why}.`);
  const [low, high] = trust.kappa_interval ?? [];
  return [section("The judge", said, facts([
    ["Pairs judged", count(trust.judged)], ["Of those by people, too", count(trust.labelled)],
    ["Cohen's kappa", typeof trust.kappa === "number" && trust.kappa_interval
      && `${fixed(trust.kappa, 2)}, between ${fixed(low, 2)} and ${fixed(high, 2)}`],
    ["Won by place, first and second", trust.by_place.map(count).join(", ")],
  ]))];
}

function sliceTable(step) {
  let row = null;
  const open = (slice) => row.opened.some((one) => one.by === slice.by && one.value === slice.value);
  const button = (slice) => {
    const opened = open(slice);
    const what = `${opened ? "Close" : "Open"} ${slice.by} ${slice.value}`;
    return el("button", { type: "button", class: "small", id: `slice-${slice.by}-${slice.value}`, "aria-label": what,
      on: { click: () => step(slice, !opened) } }, opened ? "Close" : "Open");
  };
  const view = table({
    caption: "Slices with their verdicts",
    empty: "No slice has enough pairs to be looked at.",
    stack: true,
    key: (slice) => `${slice.by} ${slice.value}`,
    columns: [
      { head: "Slice", row: true, cell: (slice) => [quiet(`${plain(slice.by)} `), slice.value] },
      { head: "Verdict", cell: (slice) => verdict(slice.verdict) },
      { head: "Difference", cell: (slice) => strip(slice.interval, slice.mean, row.question.margin) },
      { head: "Lies", wide: true, cell: (slice) => words(slice.interval) },
      { head: "Pairs", num: true, cell: (slice) => count(slice.pairs) },
      { head: "Still needed", num: true, cell: (slice) => (slice.verdict === "not_yet_known"
        ? count(slice.still_needed) || quiet("unknown") : "–") },
      { head: "Goes", cell: (slice) => (open(slice) ? el("span", { class: "state good" }, "left") : quiet("as usual")) },
      { head: "By hand", cell: (slice) => (row.act ? button(slice) : quiet("does not act")) },
    ],
  });
  return {
    node: view.node,
    show(found) {
      row = found;
      view.show(row.slices, JSON.stringify([row.opened, row.act, row.question]));
    },
  };
}

function stepTable(undo) {
  let latest = new Map();
  const name = (row) => `${row.slice.by} ${row.slice.value}`;
  const view = table({
    caption: "Slices that were opened and closed, the latest first",
    empty: "No slice was opened or closed yet.",
    stack: true,
    key: (row) => `${row.time} ${name(row)}`,
    columns: [
      { head: "Time", row: true, cell: (row) => time(row.time) },
      { head: "Slice", cell: (row) => [quiet(`${plain(row.slice.by)} `), row.slice.value] },
      { head: "Step", cell: (row) => (row.opened ? el("span", { class: "good" }, "opened")
        : el("span", { class: "bad" }, "closed")) },
      { head: "By", cell: (row) => plain(row.by) },
      { head: "Why", cell: (row) => plain(row.why) },
      { head: "Undo", cell: (row) => (latest.get(name(row)) === row.time ? el("button", { type: "button", class: "small",
        "aria-label": `Undo: ${row.opened ? "close" : "open"} ${name(row)}`, on: { click: () => undo(row) } }, "Undo")
        : quiet("–")) },
    ],
  });
  return {
    node: view.node,
    show(steps) {
      // In the order of the ledger: the last one of a slice is what holds.
      latest = new Map(steps.map((row) => [name(row), row.time]));
      view.show([...steps].reverse(), JSON.stringify([...latest]));
    },
  };
}
