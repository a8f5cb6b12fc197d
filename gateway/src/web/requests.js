// Requests: the latest as they come, and those that are looked for.
//
// The first page of the list follows what happens; older pages stand still, so that they can be read.

import { get } from "./api.js";
import { REASONS } from "./decision.js";
import { amount, choice, count, el, fixed, ms, nanos, plain, quiet, route, table, time } from "./kit.js";

const PAGE = 50;
const ROUTES = [["", "All"], ["local", "Local"], ["hosted", "Hosted"], ["none", "None (refused)"]];
const SPANS = [["", "Any time"], ["15", "Last 15 minutes"], ["60", "Last hour"], ["1440", "Last 24 hours"],
  ["10080", "Last 7 days"]];
const PLACES = [["", "Anywhere"], ["id", "Request id"], ["session", "Session"], ["key", "Key"], ["tag", "Tag"],
  ["model", "Model"], ["reason", "Reason"]];
const FIND = "An id or its beginning; else the whole word: a session, a key's name or id, a tag (name=value or its name), "
  + "a model, a reason";

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
      { head: "Cost, $", num: true, title: "What answering cost; below it what an experiment spent beside", cell: cost },
      { head: "ms", num: true, wide: true, title: "Duration", cell: (row) => ms(row.duration_ms) },
    ],
  });
  const find = el("input", { id: "find", type: "search", autocomplete: "off", spellcheck: "false", maxlength: "257",
    title: FIND, placeholder: "id, session, key, tag…", value: words.find ?? "" });
  const search = () => app.say({ find: find.value.trim(), before: null });
  // The cross that empties the field is an answer, too.
  find.addEventListener("search", search);
  const finder = el("form", { class: "field", role: "search", on: { submit: (event) => {
    event.preventDefault();
    search();
  } } }, el("label", { for: "find" }, "Search"), el("div", { class: "joined" }, find, el("button", { id: "search" }, "Search")));
  const newer = el("button", { type: "button", id: "newest", on: { click: () => go(null) } }, "Newest");
  const older = el("button", { type: "button", id: "older", on: { click: () => go(older.value) } }, "Older");
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
      choice("in", "In", PLACES, words.in ?? "", (value) => app.say({ in: value, before: null })),
      finder), view.node, note, el("div", { class: "actions" }, newer, older)),
    every: words.before ? 0 : 4_000,
    live: true,
    follow(words) {
      asked = words;
      latest = null;
      page.every = words.before ? 0 : 4_000;
      for (const name of ["route", "span", "in", "find"]) document.getElementById(name).value = words[name] ?? "";
    },
    load(signal) {
      const minutes = Number(asked.span);
      const since = minutes > 0 ? new Date(Date.now() - minutes * 60_000).toISOString() : null;
      const place = asked.find ? asked.in : "";
      return get("/api/requests",
        { route: asked.route, since, before: asked.before, limit: PAGE, find: asked.find, in: place }, signal);
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

export function status(row) {
  if (row.status === 0) return quiet("running");
  return el("span", { class: row.status < 400 ? "good" : "bad" }, String(row.status));
}

export function cost(row) {
  const known = row.cost_usd !== null && row.cost_usd !== undefined;
  const own = known ? amount(nanos(row.cost_usd)) : row.route ? quiet("unpriced") : "";
  const beside = nanos(row.experiment_cost_usd);
  return beside ? [own, el("span", { class: "under" }, "to compare ", amount(beside))] : own;
}

// The way back from a story to the list as it was.
export let listed = "#/requests";
const remember = (hash) => {
  listed = hash || listed;
};
