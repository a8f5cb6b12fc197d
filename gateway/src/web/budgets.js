// Budgets and keys: what is left of the money, and who may spend it.

import { gather, get } from "./api.js";
import { keyForm, keyTable, revealed } from "./keys.js";
import { amount, count, decimals, el, nanos, percent, quiet, section, svg, table, time } from "./kit.js";

const POLICIES = {
  refuse: "refuse (402)", local: "answer locally", clamp: "clamp the answer's length", end: "end the stream",
  warn: "say so, refuse nothing",
};

/** A budget's units, whatever it counts: nano-dollars or tokens. */
function units(row, name) {
  return row.measure === "tokens" ? BigInt(row[`${name}_tokens`]) : nanos(row[`${name}_usd`]);
}

export function budgets(app) {
  const budgetList = budgetTable();
  const secrets = revealed();
  const keyList = keyTable(app, secrets.show);
  const form = keyForm(app, secrets.show);
  return {
    title: "Budgets and keys",
    node: el("div", {}, section("Budgets", budgetList.node), section("Keys", secrets.node, keyList.node),
      section("Create a key", form.node)),
    every: 10_000,
    load: (signal) => gather({
      budgets: get("/api/budgets", {}, signal),
      keys: get("/api/keys", {}, signal),
      models: get("/api/models", {}, signal),
    }),
    show({ budgets, keys, models }) {
      budgetList.show(budgets, new Map((keys.data?.keys ?? []).map((key) => [`key:${key.id}`, key.name])));
      keyList.show(keys);
      form.models(models.data?.models.map((model) => model.model) ?? []);
    },
  };
}

// === Budgets ===

function budgetTable() {
  let digits = 2;
  // What people call a key whose scope has its id.
  let names = new Map();
  const problem = el("p", { class: "bad" });
  const money = (name) => (row) => (row.measure === "tokens"
    ? [count(Number(units(row, name))), el("span", { class: "under" }, "tokens")] : amount(units(row, name), digits));
  const view = table({
    caption: "Every budget and what is left of it",
    empty: "No budget is configured. Add a [[budgets]] section, or give a key its own budget.",
    stack: true,
    key: (row) => `${row.scope} ${row.window} ${row.measure}`,
    columns: [
      { head: "Scope", row: true, cell: (row) => [names.has(row.scope) ? `key ${names.get(row.scope)}` : row.scope,
        el("span", { class: "under" }, row.window)] },
      { head: "Used", cell: used },
      { head: "Limit, $", num: true, cell: money("limit") },
      { head: "Spent, $", num: true, cell: money("spent") },
      { head: "Held, $", num: true, title: "Set aside for running calls", cell: money("held") },
      { head: "Left, $", num: true, cell: money("left") },
      { head: "When exceeded", cell: (row) => POLICIES[row.on_exceeded] ?? row.on_exceeded },
      { head: "Since", title: "Windows begin at midnight of the budget's time zone",
        cell: (row) => (row.window === "total" ? "" : [time(row.since), el("span", { class: "under" }, row.time_zone)]) },
      { head: "Until", cell: (row) => (row.until ? time(row.until) : quiet("never")) },
    ],
  });
  return {
    node: el("div", {}, problem, view.node),
    show({ data, error }, known) {
      names = known;
      problem.textContent = error ? `Budgets cannot be shown: ${error.message}` : "";
      view.node.hidden = Boolean(error);
      const rows = data?.budgets ?? [];
      digits = decimals(rows.filter((row) => row.measure !== "tokens").map((row) => units(row, "limit")));
      view.show(rows, JSON.stringify([digits, ...names]));
    },
  };
}

function used(row) {
  const [limit, spent, held] = [units(row, "limit"), units(row, "spent"), units(row, "held")];
  const part = (value) => (limit > 0n ? Math.min(100, (Number(value) / Number(limit)) * 100) : 100);
  const near = row.warn_at === null ? 0.8 : row.warn_at;
  const level = spent >= limit ? "over" : row.used >= near ? "near" : "spent";
  const said = percent(spent, limit) || "–";
  const label = `${said} spent, ${percent(held, limit) || "0%"} held`;
  const wide = (share) => `${Math.min(100, share).toFixed(2)}%`;
  const piece = (kind, share) => svg("rect", { class: kind, width: wide(share), height: "6" });
  return el("span", { class: "used" }, el("span", { class: level === "over" ? "bad" : null }, said),
    svg("svg", { class: "share", role: "img", "aria-label": label, width: "100%", height: "6" },
      piece("track", 100), piece("held", part(spent) + part(held)), piece(level, part(spent))));
}
