// Budgets and keys: what is left of the money, and who may spend it.
//
// A new key's secret is in the document from its creation until it is dismissed or the page is left, and nowhere else.

import { gather, get, post, remove } from "./api.js";
import { amount, choice, count, decimals, el, exactly, nanos, percent, quiet, section, svg, table,
  time } from "./kit.js";

const WINDOWS = [["", "No budget"], ["hour", "an hour"], ["day", "a day"], ["week", "a week"], ["month", "a month"],
  ["total", "in total"]];
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
  const keyList = keyTable(app);
  const form = keyForm(app);
  return {
    title: "Budgets and keys",
    node: el("div", {}, section("Budgets", budgetList.node), section("Keys", keyList.node),
      section("Create a key", form.node)),
    every: 10_000,
    load: (signal) => gather({
      budgets: get("/api/budgets", {}, signal),
      keys: get("/api/keys", {}, signal),
      models: get("/api/models", {}, signal),
    }),
    show({ budgets, keys, models }) {
      budgetList.show(budgets);
      keyList.show(keys);
      form.models(models.data?.models.map((model) => model.model) ?? []);
    },
  };
}

// === Budgets ===

function budgetTable() {
  let digits = 2;
  const problem = el("p", { class: "bad" });
  const money = (name) => (row) => (row.measure === "tokens"
    ? [count(Number(units(row, name))), el("span", { class: "under" }, "tokens")] : amount(units(row, name), digits));
  const view = table({
    caption: "Every budget and what is left of it",
    empty: "No budget is configured. Add a [[budgets]] section, or give a key its own budget.",
    stack: true,
    key: (row) => `${row.scope} ${row.window} ${row.measure}`,
    columns: [
      { head: "Scope", row: true, cell: (row) => [row.scope, el("span", { class: "under" }, row.window)] },
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
    show({ data, error }) {
      problem.textContent = error ? `Budgets cannot be shown: ${error.message}` : "";
      view.node.hidden = Boolean(error);
      const rows = data?.budgets ?? [];
      digits = decimals(rows.filter((row) => row.measure !== "tokens").map((row) => units(row, "limit")));
      view.show(rows, digits);
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

// === Keys ===

function state(key) {
  if (key.revoked) return "revoked";
  return key.expires && Date.parse(key.expires) <= Date.now() ? "expired" : "active";
}

function keyTable(app) {
  let last = { data: { keys: [] } };
  const problem = el("p", { class: "bad", role: "alert" });
  const all = el("input", { type: "checkbox", id: "all-keys", on: { change: () => list.show(last) } });
  const dead = el("label", { class: "check", for: "all-keys" }, all, "Show revoked and expired keys");
  const view = table({
    caption: "Every key, its owner and its state",
    empty: "No key is shown. Without any key, only loopback is served.",
    stack: true,
    key: (row) => row.id,
    columns: [
      { head: "Name", row: true, cell: (row) => [row.name, el("span", { class: "under" }, row.id)] },
      { head: "Team", cell: (row) => row.team ?? "" },
      { head: "User", cell: (row) => row.user ?? "" },
      { head: "Models", cell: (row) => (row.models ? row.models.join(", ") || quiet("none") : quiet("all")) },
      { head: "Budget", num: true, cell: (row) => (row.budgets.length
        ? row.budgets.flatMap((budget) => [exactly(nanos(budget.limit_usd)), el("span", { class: "under" }, budget.window)])
        : quiet("none")) },
      { head: "Rate", cell: (row) => row.rates.join(", ") || quiet("default") },
      { head: "Created", cell: (row) => time(row.created) },
      { head: "Expires", cell: (row) => (row.expires ? time(row.expires) : quiet("never")) },
      { head: "State", cell: (row) => el("span", { class: state(row) === "active" ? "good" : "quiet" }, state(row)) },
      { head: "Action", cell: (row) => state(row) === "active" && el("button", { type: "button", class: "small",
        id: `revoke-${row.id}`, "aria-label": `Revoke key ${row.name}`, on: { click: () => revoke(row) } }, "Revoke") },
    ],
  });
  async function revoke(key) {
    const yes = await app.confirm({ title: `Revoke ${key.name}?`, yes: "Revoke",
      text: `Requests with this key (${key.id}) are refused from then on. This cannot be undone.` });
    if (!yes) return;
    try {
      await remove(`/api/keys/${encodeURIComponent(key.id)}`);
      problem.textContent = "";
      app.announce(`Key ${key.name} is revoked.`);
      document.getElementById("s-keys").focus();
      app.refresh();
    } catch (error) {
      problem.textContent = `Key ${key.name} was not revoked: ${error.message}`;
    }
  }
  const broken = el("p", { class: "bad" });
  const list = {
    node: el("div", {}, problem, broken, dead, view.node),
    show(keys) {
      last = keys;
      broken.textContent = keys.error ? `Keys cannot be shown: ${keys.error.message}` : "";
      view.node.hidden = Boolean(keys.error);
      const rows = keys.data?.keys ?? [];
      const gone = rows.filter((key) => state(key) !== "active").length;
      dead.lastChild.textContent = `Show revoked and expired keys (${count(gone)})`;
      dead.hidden = gone === 0;
      view.show(rows.filter((key) => all.checked || state(key) === "active"), rows.map(state).join());
    },
  };
  return list;
}

// === A new key ===

function keyForm(app) {
  const field = (id, label, more = {}) => {
    const input = el("input", { id, autocomplete: "off", spellcheck: "false", ...more });
    return { input, node: el("div", { class: "field" }, el("label", { for: id }, label), input) };
  };
  const name = field("key-name", "Name", { required: true, maxlength: "100" });
  const team = field("key-team", "Team (optional)", { maxlength: "100" });
  const user = field("key-user", "User (optional)", { maxlength: "100" });
  const most = field("key-limit", "Dollars", { inputmode: "decimal", pattern: "[0-9]+([.][0-9]{1,9})?",
    title: "Digits, with a point before the decimals" });
  const period = choice("key-window", "Budget", WINDOWS, "", (value) => {
    most.input.required = value !== "";
    most.node.hidden = value === "";
  });
  most.node.hidden = true;

  const some = el("input", { type: "checkbox", id: "key-some", on: { change: () => {
    list.hidden = !some.checked;
  } } });
  const list = el("div", { class: "checks", role: "group", "aria-label": "Models this key may use", hidden: true });
  let offered = null;

  const said = el("p", { class: "bad", role: "alert" });
  const button = el("button", { class: "main" }, "Create key");
  const result = el("div");
  const form = el("form", { class: "card form", on: { submit: create } },
    el("div", { class: "filters" }, name.node, team.node, user.node, period, most.node),
    el("label", { class: "check", for: "key-some" }, some, "Only some models"), list,
    said, el("div", { class: "actions start" }, button));

  async function create(event) {
    event.preventDefault();
    if (button.disabled) return;
    const chosen = [...list.querySelectorAll("input:checked")].map((box) => box.value);
    if (some.checked && chosen.length === 0) {
      said.textContent = "Choose at least one model, or allow all.";
      return;
    }
    const span = form.querySelector("#key-window").value;
    said.textContent = "";
    button.disabled = true;
    try {
      const made = await post("/api/keys", {
        name: name.input.value.trim(),
        team: team.input.value.trim() || null,
        user: user.input.value.trim() || null,
        models: some.checked ? chosen : null,
        budget: span ? `${most.input.value.trim()} USD/${span}` : null,
      });
      form.reset();
      [list.hidden, most.node.hidden, most.input.required] = [true, true, false];
      reveal(made);
      app.refresh();
    } catch (error) {
      said.textContent = `No key was created: ${error.message}`;
    } finally {
      button.disabled = false;
    }
  }

  function reveal(made) {
    const secret = el("input", { id: "key-secret", class: "secret", readonly: true, value: made.key,
      spellcheck: "false", autocomplete: "off" });
    const copied = el("span", { class: "quiet", role: "status" });
    const copy = el("button", { type: "button", on: { click: async () => {
      secret.select();
      // Without a secure context there is no clipboard; the selection is ready to be copied by hand.
      const done = await navigator.clipboard?.writeText(made.key).then(() => true, () => false);
      copied.textContent = done ? "Copied." : "Selected: copy it with the keyboard.";
    } } }, "Copy");
    const dismiss = el("button", { type: "button", on: { click: () => {
      secret.value = "";
      result.replaceChildren();
      name.input.focus();
    } } }, "I have stored it");
    const heading = el("h3", { tabindex: "-1" }, `Key ${made.name ?? made.id} is created`);
    result.replaceChildren(el("div", { class: "card reveal" }, heading,
      el("p", {}, "This is the only time its secret is shown. Store it now."),
      el("label", { for: "key-secret" }, "Secret"), el("div", { class: "joined" }, secret, copy),
      el("div", { class: "actions start" }, dismiss, copied)));
    heading.focus();
  }

  return {
    node: el("div", {}, result, form),
    models(names) {
      if (JSON.stringify(names) === offered) return;
      offered = JSON.stringify(names);
      const ticked = new Set([...list.querySelectorAll("input:checked")].map((box) => box.value));
      list.replaceChildren(...names.map((model, at) => el("label", { class: "check", for: `key-model-${at}` },
        el("input", { type: "checkbox", id: `key-model-${at}`, value: model, checked: ticked.has(model) }), model)));
    },
  };
}
