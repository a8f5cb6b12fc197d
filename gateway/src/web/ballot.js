// The blind vote: two answers as A and B, without names, in an order that was drawn.

import { gather, get, post } from "./api.js";
import { count, el } from "./kit.js";
import { prompt } from "./pairs.js";

const CHOICES = [["a", "A is better", "A"], ["tie", "Neither", "T"], ["b", "B is better", "B"]];
const SLOT = "sluice-voter";

export function vote(app, { id: experiment }) {
  const path = `/api/experiments/${encodeURIComponent(experiment)}/votes`;
  let pair = null;
  let busy = false;
  let votes = 0;
  const said = (id, letter) => el("div", { class: "said", id, tabindex: "0", role: "region", "aria-label": `Answer ${letter}` });
  const [a, b] = [said("answer-a", "A"), said("answer-b", "B")];
  const asked = el("div");
  const open = el("p", { class: "quiet", id: "votes-open" });
  const failed = el("p", { class: "bad", role: "alert" });
  const none = el("p", { class: "empty" }, "There is no pair to vote on: every pair has a vote, or its answers are the same.");
  const voter = el("input", { id: "voter", maxlength: "128", autocomplete: "name", value: kept(),
    on: { change: () => keep(voter.value.trim()) } });
  const name = el("div", { class: "field" }, el("label", { for: "voter" }, "Your name (optional)"), voter);
  const signed = el("p", { id: "votes-as" });
  const keys = el("input", { type: "checkbox", id: "keys", checked: true });
  const buttons = CHOICES.map(([word, text, key]) => el("button", { type: "button", id: `vote-${word}`, class: "choice",
    on: { click: () => cast(word) } }, text, " ", el("kbd", { "aria-hidden": "true" }, key)));
  const body = el("div", {}, el("details", { open: true }, el("summary", {}, "Prompt"), asked),
    el("div", { class: "pair" }, el("div", { class: "side" }, el("h2", {}, "A"), a),
      el("div", { class: "side" }, el("h2", {}, "B"), b)),
    el("div", { class: "actions start", role: "group", "aria-label": "Which answer is better?" }, buttons));

  async function cast(word) {
    if (busy || !pair) return;
    busy = true;
    failed.textContent = "";
    try {
      await post(path, { request_id: pair.request_id, vote: word, ...(voter.value.trim() && { voter: voter.value.trim() }) });
      votes += 1;
      app.announce("Your vote is recorded. Here is the next pair.");
      await app.refresh();
    } catch (error) {
      failed.textContent = error.message;
    } finally {
      busy = false;
    }
  }
  // Single keys, which can be switched off, and never while somebody types.
  const press = (event) => {
    const typing = event.target.closest?.("input:not([type=checkbox]), textarea, select, dialog");
    if (!keys.checked || typing || event.ctrlKey || event.altKey || event.metaKey || event.repeat) return;
    const choice = CHOICES.find(([, , key]) => key === event.key.toUpperCase());
    if (!choice) return;
    event.preventDefault();
    cast(choice[0]);
  };
  addEventListener("keydown", press);
  return {
    title: `Vote on ${experiment}`,
    node: el("div", {}, el("p", {}, el("a", { href: `#/compare/${encodeURIComponent(experiment)}`, id: "back" }, "Back to the experiment")),
      signed, el("div", { class: "filters" }, name,
        el("label", { class: "check", for: "keys" }, keys, "Keys A, T and B vote")), open, failed, none, body),
    every: 0,
    leave: () => removeEventListener("keydown", press),
    load: (signal) => gather({ ballot: get(path, {}, signal), operator: get("/api/operator", {}, signal) }),
    show({ ballot: { data: found, error }, operator }) {
      if (error) throw error;
      // Who is signed in by name votes under it, whatever is typed.
      const known = operator.data?.name ?? null;
      name.hidden = known !== null;
      signed.hidden = known === null;
      signed.replaceChildren("You vote as ", el("strong", {}, known ?? ""), ".");
      pair = found.request_id === null ? null : found;
      none.hidden = pair !== null;
      body.hidden = pair === null;
      open.textContent = `${count(found.open)} ${found.open === 1 ? "pair waits" : "pairs wait"} for a vote; `
        + `you voted ${count(votes)} ${votes === 1 ? "time" : "times"}.`;
      if (!pair) return;
      asked.replaceChildren(...[prompt(pair.prompt)].flat());
      a.textContent = pair.a;
      b.textContent = pair.b;
    },
  };
}

function kept() {
  try {
    return sessionStorage.getItem(SLOT) ?? "";
  } catch {
    return "";
  }
}

function keep(name) {
  try {
    sessionStorage.setItem(SLOT, name);
  } catch {
    // Asked again next time.
  }
}
