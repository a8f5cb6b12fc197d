// Keys: who may spend, and a form for a new one.
//
// A secret is in the document from its creation until it is dismissed or the page is left, and nowhere else.

import { post, remove } from "./api.js";
import { choice, count, el, exactly, nanos, quiet, table, time } from "./kit.js";

const WINDOWS = [["", "No budget"], ["hour", "an hour"], ["day", "a day"], ["week", "a week"], ["month", "a month"],
  ["total", "in total"]];
const ENDS = [["", "never"], ["30d", "in 30 days"], ["90d", "in 90 days"], ["365d", "in a year"]];
const OVERLAP = "24h";

function state(key) {
  if (key.revoked) return "revoked";
  return key.expires && Date.parse(key.expires) <= Date.now() ? "expired" : "active";
}

const action = (what, text, row, act) => el("button", { type: "button", class: "small", id: `${what}-${row.id}`,
  "aria-label": `${text} key ${row.name}`, on: { click: () => act(row) } }, text);

export function keyTable(app, reveal) {
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
      { head: "Action", cell: (row) => state(row) === "active" && el("span", { class: "joined" },
        action("rotate", "Rotate", row, rotate), action("revoke", "Revoke", row, revoke)) },
    ],
  });
  async function rotate(key) {
    const yes = await app.confirm({ title: `Rotate ${key.name}?`, yes: "Rotate",
      text: `It gets a new secret, which is shown once. The old one works for ${OVERLAP} more, then no longer.` });
    if (!yes) return;
    try {
      const made = await post(`/api/keys/${encodeURIComponent(key.id)}/rotate`, { overlap: OVERLAP });
      problem.textContent = "";
      reveal(`Key ${key.name} has a new secret`, made.key);
      app.refresh();
    } catch (error) {
      problem.textContent = `Key ${key.name} was not rotated: ${error.message}`;
    }
  }
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

// === A secret, once ===

// The place where a fresh secret is shown: `show(title, secret)`.
export function revealed() {
  const node = el("div");
  function show(title, text) {
    const secret = el("input", { id: "key-secret", class: "secret", readonly: true, value: text,
      spellcheck: "false", autocomplete: "off" });
    const copied = el("span", { class: "quiet", role: "status" });
    const copy = el("button", { type: "button", id: "key-copy", on: { click: async () => {
      secret.select();
      // Without a secure context there is no clipboard; the selection is ready to be copied by hand.
      const done = await navigator.clipboard?.writeText(text).then(() => true, () => false);
      copied.textContent = done ? "Copied." : "Selected: copy it with the keyboard.";
    } } }, "Copy");
    const dismiss = el("button", { type: "button", id: "key-stored", on: { click: () => {
      secret.value = "";
      node.replaceChildren();
      document.getElementById("s-keys").focus();
    } } }, "I have stored it");
    const heading = el("h3", { tabindex: "-1" }, title);
    node.replaceChildren(el("div", { class: "card reveal" }, heading,
      el("p", {}, "This is the only time its secret is shown. Store it now."),
      el("label", { for: "key-secret" }, "Secret"), el("div", { class: "joined" }, secret, copy),
      el("div", { class: "actions start" }, dismiss, copied)));
    heading.focus();
  }
  return { node, show };
}

// === A new key ===

export function keyForm(app, reveal) {
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
  const ends = choice("key-expires", "Expires", ENDS, "", () => {});

  const some = el("input", { type: "checkbox", id: "key-some", on: { change: () => {
    list.hidden = !some.checked;
  } } });
  const list = el("div", { class: "checks", role: "group", "aria-label": "Models this key may use", hidden: true });
  let offered = null;

  const said = el("p", { class: "bad", role: "alert" });
  const button = el("button", { class: "main", id: "key-create" }, "Create key");
  const form = el("form", { class: "card form", on: { submit: create } },
    el("div", { class: "filters" }, name.node, team.node, user.node, period, most.node, ends),
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
        expires: form.querySelector("#key-expires").value || null,
        budget: span ? `${most.input.value.trim()} USD/${span}` : null,
      });
      form.reset();
      [list.hidden, most.node.hidden, most.input.required] = [true, true, false];
      reveal(`Key ${made.name ?? made.id} is created`, made.key);
      app.refresh();
    } catch (error) {
      said.textContent = `No key was created: ${error.message}`;
    } finally {
      button.disabled = false;
    }
  }

  return {
    node: form,
    models(names) {
      if (JSON.stringify(names) === offered) return;
      offered = JSON.stringify(names);
      const ticked = new Set([...list.querySelectorAll("input:checked")].map((box) => box.value));
      list.replaceChildren(...names.map((model, at) => el("label", { class: "check", for: `key-model-${at}` },
        el("input", { type: "checkbox", id: `key-model-${at}`, value: model, checked: ticked.has(model) }), model)));
    },
  };
}
