// Pairs: what was asked, and both answers side by side, with the words that differ marked.

import { el, fixed, plain, quiet, time } from "./kit.js";

// More words than this are not compared: the table below grows with their product.
const MOST_WORDS = 800;

// A pair as a card. `shadow` is the side that the client did not get.
export function article(pair, marked) {
  const texts = [pair.left, pair.right];
  const compared = marked && texts.every((text) => typeof text === "string");
  const [left, right] = compared ? differences(...texts) : texts;
  const link = `#/requests/${encodeURIComponent(pair.request_id)}`;
  const title = el("h3", {}, time(pair.time), " ", el("a", { href: link }, "request"));
  const asked = promptSize(pair.prompt) < 600;
  return el("article", { class: "card" }, title, el("p", {}, judged(pair)),
    el("details", { open: asked }, el("summary", {}, "Prompt"), prompt(pair.prompt)),
    el("div", { class: "pair" }, side("Left", pair.left_model, left, pair),
      side("Right", pair.right_model, right, pair)));
}

// A pair as the ledger's list of shadows has it, in the shape of an experiment's pairs.
export const fromShadow = (row) => ({
  request_id: row.request_id, time: row.time, prompt: row.prompt, left_model: row.served_model,
  right_model: row.shadow_model, left: row.served_text, right: row.shadow_text, shadow: "right",
  unjudged: row.shadow_error,
});

function side(name, model, text, pair) {
  const label = `${name} answer of ${model} to ${pair.request_id}`;
  const got = pair.shadow ? quiet(pair.shadow === name.toLowerCase() ? " (shadow)" : " (served)") : "";
  const said = text === null || text === undefined ? el("p", { class: "empty" }, "The text is not shown here.")
    : text.length > 0 ? el("div", { class: "said", tabindex: "0", role: "region", "aria-label": label }, text)
      : el("p", { class: "empty" }, "No text.");
  return el("div", { class: "side" }, el("h4", {}, `${name}: `, model, got), said);
}

const BETTER = { left: "the left answer", right: "the right answer", tie: "neither" };

// What was said of a pair: by the judge, and by people.
function judged(pair) {
  const words = [];
  if (typeof pair.difference === "number") {
    const better = pair.difference > 0 ? BETTER.left : pair.difference < 0 ? BETTER.right : BETTER.tie;
    words.push(["Judged better: ", el("strong", {}, better), quiet(` (${signed(pair.difference)})`)]);
  }
  if (pair.human) words.push(["People: ", el("strong", {}, BETTER[pair.human] ?? plain(pair.human))]);
  if (pair.unjudged) words.push(el("span", { class: "wait" }, `Not judged: ${plain(pair.unjudged)}`));
  return words.length ? words.map((word, at) => [at > 0 ? " · " : "", word]) : quiet("Not judged yet");
}

// A difference of scores with its sign.
export const signed = (value) => `${value < 0 ? "−" : "+"}${fixed(Math.abs(value), 3)}`;

const promptSize = (value) => (typeof value === "string" ? value : JSON.stringify(value ?? "")).length;

// A prompt is messages, a string, or something we do not know.
export function prompt(text) {
  let value = text;
  try {
    if (typeof text === "string") value = JSON.parse(text);
  } catch {
    // Shown as it is.
  }
  if (value === null || value === undefined) return el("p", { class: "empty" }, "The prompt is not shown here.");
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
export function differences(left, right) {
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
