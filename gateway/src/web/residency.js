// Residency: what left, what stayed, what was refused, and the evidence of it.

import { gather, get } from "./api.js";
import { choice, count, el, facts, percent, plain, quiet, route, section, table, time } from "./kit.js";

const DAYS = [["1", "today"], ["7", "7 days"], ["30", "30 days"], ["", "all time"]];

export function residency(app, words) {
  let asked = words;
  const filter = el("div", { class: "filters" });
  const sums = el("div");
  const rules = el("div");
  const evidence = el("div");
  const view = table({
    caption: "Attempts and refusals by day, class and destination",
    empty: "Nothing went anywhere in this time.",
    key: (row) => [row.day, row.class, row.masked, row.route, row.provider, row.region, row.purpose].join(" "),
    columns: [
      { head: "Day", row: true, cell: (row) => row.day },
      { head: "Class", cell: (row) => [row.class, row.masked && el("span", { class: "under" }, `masked: ${row.masked}`)] },
      { head: "Where", cell: where },
      { head: "For", cell: (row) => plain(row.purpose ?? "") },
      { head: "Count", num: true, cell: (row) => count(row.count) },
    ],
  });
  const page = {
    title: "Residency",
    node: el("div", {}, filter, sums, section("Where it went", view.node), section("Where each class may go", rules),
      section("Evidence", evidence)),
    every: 15_000,
    follow(words) {
      asked = words;
      offer();
    },
    load: (signal) => gather({
      table: get("/api/residency", { since: since(asked.days ?? "7") }, signal),
      evidence: get("/api/evidence", {}, signal),
    }),
    show({ table: read, evidence: log }) {
      if (read.error) throw read.error;
      view.show(read.data.rows);
      sums.replaceChildren(summary(read.data.rows));
      rules.replaceChildren(rulesOf(read.data));
      evidence.replaceChildren(...logOf(log));
    },
  };
  function offer() {
    filter.replaceChildren(choice("days", "Time", DAYS, asked.days ?? "7", (value) => app.say({ days: value })));
  }
  offer();
  return page;
}

// The side, and below it the provider and its region.
function where(row) {
  if (row.route === "refused") return el("span", { class: "bad" }, "refused");
  const region = row.region ?? { hosted: "region unknown", local: "in the house" }[row.route];
  return [route(row.route), el("span", { class: "under" }, [row.provider, region].filter(Boolean).join(", "))];
}

function since(days) {
  if (!days) return "";
  const midnight = new Date();
  midnight.setUTCHours(0, 0, 0, 0);
  return new Date(midnight.getTime() - (Number(days) - 1) * 86_400_000).toISOString();
}

function summary(rows) {
  const sum = (...routes) => rows.filter((row) => routes.includes(row.route)).reduce((all, row) => all + row.count, 0);
  const all = sum("local", "hosted");
  return facts([
    ["Stayed", [count(sum("local")), " ", quiet(percent(sum("local"), all))]],
    ["Left", [count(sum("hosted")), " ", quiet(percent(sum("hosted"), all))]],
    ["Refused", count(sum("refused"))],
  ]);
}

function rulesOf({ classes, mode, default_class: usual }) {
  const view = table({
    caption: "Where data of each class may go",
    empty: "No class is configured.",
    stack: true,
    key: (row) => row.class,
    columns: [
      { head: "Class", row: true, cell: (row) => [row.class, row.class === usual && el("span", { class: "under" }, "default")] },
      { head: "Locations", cell: (row) => row.locations.join(", ") || quiet("nowhere") },
      { head: "Regions", cell: (row) => row.regions?.join(", ") ?? quiet("any known") },
      { head: "Providers", cell: (row) => row.providers?.join(", ") ?? quiet("any") },
      { head: "Also", cell: (row) => row.sinks.join(", ") || quiet("nowhere") },
    ],
  });
  view.show(classes);
  return el("div", {}, mode === "offline" && el("p", {}, "Offline: nothing outside is dialled."), view.node);
}

function logOf({ data, error }) {
  if (error) return [el("p", { class: "bad" }, `The evidence log cannot be shown: ${error.message}`)];
  if (!data.enabled) return [el("p", { class: "empty" }, "No evidence is kept: residency.evidence.enabled is false.")];
  const at = data.checkpoint?.text;
  const file = (format, text) => el("li", {}, el("code", {}, `sluice ledger export --format ${format}`), ` ${text}`);
  return [
    facts([
      ["Log", el("code", {}, data.log)],
      ["Public key", el("code", {}, data.public_key)],
      ["Newest checkpoint", at && [count(at.size), " records, ", time(at.at)]],
      ["Root", at && el("code", {}, at.root)],
    ]),
    el("p", {}, "Exports are signed; whoever has the public key can check them offline:"),
    el("ul", {}, file("jsonl", "to verify"), file("html", "to read"),
      el("li", {}, el("code", {}, "sluice ledger verify FILE --public-key KEY"))),
  ];
}
