// Shadow: what the client got beside what the other side would have said.

import { get } from "./api.js";
import { choice, el, plain, quiet, reconcile, time } from "./kit.js";

// More words than this are not compared: the table below grows with their product.
const MOST_WORDS = 800;

export function shadow(app, words) {
  let asked = words;
  let last = { shadows: [] };
  let offered = "";
  const filter = el("div");
  const marking = el("input", { type: "checkbox", id: "marking", on: { change: () => page.show(last) } });
  const list = el("div", { class: "pairs" });
  const empty = el("p", { class: "empty" });
  const page = {
    title: "Shadow",
    node: el("div", {}, el("p", { class: "quiet" },
      "A sampled share of requests is also answered by the other side, after the client has its answer."),
    el("div", { class: "filters" }, filter,
      el("label", { class: "check", for: "marking" }, marking, "Mark differing words")),
    empty, list),
    every: 15_000,
    follow(words) {
      asked = words;
    },
    load: (signal) => get("/api/experiments", {}, signal),
    show(data) {
      last = data;
      const wanted = asked.experiment ?? "";
      offer(data.shadows.map((pair) => pair.experiment), wanted);
      const rows = data.shadows.filter((pair) => !wanted || pair.experiment === wanted);
      empty.hidden = rows.length > 0;
      empty.textContent = data.shadows.length > 0 ? "This experiment has no pairs yet."
        : "No shadow pairs yet. Shadowing is off by default; an [experiments.NAME] section turns it on.";
      const key = (pair) => `${pair.request_id} ${pair.experiment}`;
      reconcile(list, rows, { key, build: (pair) => article(pair, marking.checked), extra: marking.checked });
    },
  };
  // The experiments that have pairs, and the one that is asked for.
  function offer(found, wanted) {
    const names = [...new Set([...found, wanted])].filter(Boolean).sort();
    const now = JSON.stringify([names, wanted]);
    if (now === offered) return;
    offered = now;
    const held = filter.contains(document.activeElement);
    const options = [["", "All"], ...names.map((name) => [name, name])];
    const changed = (value) => app.say({ experiment: value });
    filter.replaceChildren(choice("experiment", "Experiment", options, wanted, changed));
    if (held) filter.querySelector("select").focus();
  }
  return page;
}

function article(pair, marked) {
  const texts = [pair.served_text ?? "", pair.shadow_text ?? ""];
  const [served, other] = marked ? differences(...texts) : texts;
  const link = `#/requests/${encodeURIComponent(pair.request_id)}`;
  const title = el("h2", {}, pair.experiment, " ", el("a", { href: link }, time(pair.time)));
  const side = (name, model, text, note) => {
    const label = `${name} answer of ${model} to ${pair.request_id}`;
    const said = text.length > 0
      ? el("div", { class: "said", tabindex: "0", role: "region", "aria-label": label }, text)
      : el("p", { class: "empty" }, "No text.");
    return el("div", { class: "side" }, el("h3", {}, `${name}: `, model), said, note);
  };
  const error = pair.shadow_error && el("p", { class: "bad" }, `Error: ${plain(pair.shadow_error)}`);
  const finish = pair.shadow_finish && el("p", {}, quiet(`Finish: ${pair.shadow_finish}`));
  return el("article", { class: "card" }, title,
    el("details", { open: (pair.prompt ?? "").length < 600 }, el("summary", {}, "Prompt"), prompt(pair.prompt)),
    el("div", { class: "pair" }, side("Served", pair.served_model, served, null),
      side("Shadow", pair.shadow_model, other, [error, finish])));
}

// The prompt is kept as JSON: messages, a string, or something we do not know.
function prompt(text) {
  let value = text;
  try {
    value = JSON.parse(text);
  } catch {
    // Shown as it is.
  }
  const messages = Array.isArray(value) ? value : value?.messages;
  if (!Array.isArray(messages) || messages.some((message) => typeof message !== "object" || message === null)) {
    const raw = value?.prompt ?? value;
    return el("div", { class: "said" }, typeof raw === "string" ? raw : JSON.stringify(raw, null, 2));
  }
  const said = (message) => el("div", { class: "said" }, quiet(`${message.role ?? "message"}: `), content(message));
  return messages.map(said);
}

function content(message) {
  if (typeof message.content === "string") return message.content;
  if (!Array.isArray(message.content)) return JSON.stringify(message.tool_calls ?? message.content ?? null);
  return message.content.map((part) => part.text ?? `[${part.type ?? "part"}]`).join("\n");
}

// Both texts with the words that are not in their longest common subsequence marked.
function differences(left, right) {
  const [one, other] = [left, right].map((text) => text.match(/\s+|[^\s]+/g) ?? []);
  if (one.length > MOST_WORDS || other.length > MOST_WORDS) return [left, right];
  const width = other.length + 1;
  const common = new Uint16Array((one.length + 1) * width);
  for (let i = one.length - 1; i >= 0; i -= 1) {
    for (let j = other.length - 1; j >= 0; j -= 1) {
      common[i * width + j] = one[i] === other[j] ? common[(i + 1) * width + j + 1] + 1
        : Math.max(common[(i + 1) * width + j], common[i * width + j + 1]);
    }
  }
  const [lefts, rights] = [[], []];
  let [i, j] = [0, 0];
  while (i < one.length || j < other.length) {
    if (i < one.length && j < other.length && one[i] === other[j]) {
      lefts.push(one[i]);
      rights.push(other[j]);
      i += 1;
      j += 1;
    } else if (j >= other.length || (i < one.length && common[(i + 1) * width + j] >= common[i * width + j + 1])) {
      lefts.push(mark(one[i]));
      i += 1;
    } else {
      rights.push(mark(other[j]));
      j += 1;
    }
  }
  return [lefts, rights];
}

const mark = (word) => (word.trim() === "" ? word : el("mark", {}, word));
