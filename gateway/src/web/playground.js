// Playground: one prompt to both sides at once, side by side as it streams, and what the router would have decided.
//
// Each side is a request like any other, with budgets, residency and a line on the ledger, under the tag
// `sluice=playground`.

import { gather, get, post, stream } from "./api.js";
import { candidates, inWords, verdict } from "./decision.js";
import { count, el, facts, fixed, ms, nanos, plain, quiet, route, section, usd } from "./kit.js";

const LOCAL = ["side:local", "The local side"];
const HOSTED = ["side:hosted", "The hosted side"];
const AUTO = ["side:auto", "Whatever the router chooses"];

export function playground(app) {
  const prompt = el("textarea", { id: "prompt", rows: "4", required: true, spellcheck: "true" });
  const system = el("textarea", { id: "system", rows: "2" });
  const classes = el("select", { id: "class" }, el("option", { value: "" }, "As configured"));
  const most = el("input", { id: "most", type: "number", min: "1", max: "100000", step: "1", value: "512" });
  const sides = [["Left", "left", LOCAL], ["Right", "right", HOSTED]].map(([name, id, first]) => pane(name, id, first));
  const ask = el("button", { class: "main", id: "ask" }, "Ask both");
  const stop = el("button", { type: "button", id: "stop", disabled: true, on: { click: () => abort?.abort() } }, "Stop");
  const decision = el("div");
  const decided = section("The decision", decision);
  decided.hidden = true;
  const field = (id, label, input) => el("div", { class: "field" }, el("label", { for: id }, label), input);
  let abort = null;
  let offered = "";

  const form = el("form", { class: "form", on: { submit: (event) => {
    event.preventDefault();
    run();
  } } },
  field("prompt", "Prompt", prompt),
  el("details", {}, el("summary", {}, "System prompt"), field("system", "System prompt", system)),
  el("div", { class: "filters" }, sides.map((side) => side.chooser), field("class", "Data class", classes),
    field("most", "Output tokens, at most", most), el("div", { class: "joined" }, ask, stop)));
  // As in every place where one writes to a model.
  prompt.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });

  async function run() {
    abort?.abort();
    const mine = new AbortController();
    abort = mine;
    [ask.disabled, stop.disabled] = [true, false];
    const messages = [{ role: "user", content: prompt.value }];
    if (system.value.trim() !== "") messages.unshift({ role: "system", content: system.value });
    const body = { messages, max_tokens: Number(most.value) || 512, ...(classes.value && { data_class: classes.value }) };
    app.announce("Both sides are asked.");
    const answers = sides.map((side) => side.ask(body, mine.signal));
    // Where the router is asked to choose it decides by that; it is not asked to judge the same a second time.
    const free = sides.findIndex((side) => side.free());
    const told = decide(mine.signal, async () => {
      const answer = free < 0 ? null : await answers[free];
      if (!answer?.request || answer.failed) return post("/api/playground/decision", body);
      return { ...await get(`/api/requests/${encodeURIComponent(answer.request)}`), decided: true };
    });
    const [left, right] = await Promise.all([...answers, told]);
    if (abort !== mine) return;
    [ask.disabled, stop.disabled] = [false, true];
    app.announce(`Left: ${left.said} Right: ${right.said}`);
  }

  async function decide(signal, question) {
    decided.hidden = false;
    decision.replaceChildren(quiet("Deciding…"));
    try {
      const found = await question();
      if (signal.aborted) return;
      decision.replaceChildren(...judgement(found));
    } catch (error) {
      if (!signal.aborted) decision.replaceChildren(el("p", { class: "bad" }, error.message));
    }
  }

  return {
    title: "Playground",
    node: el("div", {}, el("p", { class: "quiet" }, "Each answer is a real request: budgets, residency and the ledger see it, "
      + "under the tag sluice=playground."), form,
    el("div", { class: "pair" }, sides.map((side) => side.node)), decided),
    every: 0,
    leave: () => abort?.abort(),
    load: (signal) => gather({ models: get("/api/models", {}, signal), residency: get("/api/residency",
      { since: new Date().toISOString() }, signal) }),
    show({ models, residency }) {
      // A model that embeds has nothing to say.
      const names = (models.data?.models ?? []).filter((row) => row.kind !== "embedding").map((row) => row.model);
      const known = (residency.data?.classes ?? []).map((row) => row.class);
      const now = JSON.stringify([names, known]);
      if (now === offered) return;
      offered = now;
      for (const side of sides) side.offer(names);
      classes.replaceChildren(el("option", { value: "" }, "As configured"),
        ...known.map((name) => el("option", { value: name }, name)));
    },
  };
}

// === A side ===

function pane(name, id, first) {
  const select = el("select", { id });
  const chooser = el("div", { class: "field" }, el("label", { for: id }, name), select);
  const said = el("div", { class: "said answer", id: `${id}-answer`, tabindex: "0", role: "region", "aria-label": `${name} answer` });
  const known = el("div", { id: `${id}-facts` });
  const failed = el("p", { class: "bad", id: `${id}-failed` });
  const node = el("section", { class: "side", "aria-label": name }, el("h2", {}, name), failed, said, known);
  const offer = (models) => {
    const others = [LOCAL, HOSTED, AUTO].filter((option) => option !== first);
    const options = [first, ...others, ...models.map((model) => [`model:${model}`, model])];
    select.replaceChildren(...options.map(([value, text]) => el("option", { value }, text)));
  };
  offer([]);

  // Asks, shows what comes as it comes, and returns a sentence on how it ended with the id on the ledger.
  async function ask(body, signal) {
    const [kind, word] = [select.value.slice(0, select.value.indexOf(":")), select.value.slice(select.value.indexOf(":") + 1)];
    const began = performance.now();
    const got = { first: null, cost: undefined, usage: null, finish: null, head: null, error: null };
    said.textContent = "";
    failed.textContent = "";
    known.replaceChildren(quiet("Waiting…"));
    node.setAttribute("aria-busy", "true");
    try {
      const { headers, pieces } = await stream("POST", "/api/playground",
        { ...body, ...(kind === "side" ? { side: word } : { model: word }) }, signal);
      got.head = headers;
      for await (const frame of frames(pieces)) take(frame, got, began, said);
      if (got.error) failed.textContent = got.error;
    } catch (error) {
      got.head ??= error.headers ?? null;
      got.error = signal.aborted ? "Stopped." : error.message;
      failed.textContent = got.error;
    }
    node.setAttribute("aria-busy", "false");
    const took = performance.now() - began;
    known.replaceChildren(ending(got, took));
    return { said: got.error ?? `answered in ${ms(took)} milliseconds.`, failed: got.error !== null,
      request: got.head?.get("x-sluice-request-id") ?? null };
  }

  return { node, chooser, offer, ask, free: () => select.value === AUTO[0] };
}

// A frame of the stream: a piece of the answer, the usage, the cost in a comment, or an error.
function take(frame, got, began, said) {
  for (const line of frame.split("\n")) {
    if (line.startsWith(": sluice-cost-usd=")) got.cost = line.slice(18).trim();
    if (!line.startsWith("data:") || line.slice(5).trim() === "[DONE]") continue;
    const piece = JSON.parse(line.slice(5));
    if (piece.error) got.error = piece.error.message ?? "The answer broke off.";
    got.usage = piece.usage ?? got.usage;
    const choice = piece.choices?.[0];
    got.finish = choice?.finish_reason ?? got.finish;
    const text = choice?.delta?.content;
    if (!text) continue;
    got.first ??= performance.now() - began;
    said.append(text);
  }
}

// Frames of server-sent events end with an empty line.
async function* frames(pieces) {
  let rest = "";
  for await (const piece of pieces) {
    const parts = (rest + piece.replaceAll("\r\n", "\n")).split("\n\n");
    rest = parts.pop();
    yield* parts;
  }
  if (rest.trim() !== "") yield rest;
}

function ending({ head, first, cost, usage, finish }, took) {
  const id = head?.get("x-sluice-request-id");
  return facts([
    ["Model", head?.get("x-sluice-model")], ["Route", head && route(head.get("x-sluice-route"))],
    ["Reason", plain(head?.get("x-sluice-reason"))],
    ["First token", first !== null && `${ms(first)} ms`], ["Total", `${ms(took)} ms`],
    ["Cost", cost === undefined ? null : usd(nanos(cost))],
    ["Tokens", usage && `${count(usage.prompt_tokens)} in, ${count(usage.completion_tokens)} out`],
    ["Finish", finish && plain(finish)],
    ["On the ledger", id && el("a", { href: `#/requests/${encodeURIComponent(id)}` }, "the whole request")],
  ]);
}

// === The decision ===

function judgement(found) {
  const score = typeof found.score === "number" ? fixed(found.score, 4) : quiet("not judged");
  const threshold = typeof found.threshold === "number" ? ` (threshold ${fixed(found.threshold, 4)})` : "";
  const chosen = found.decided ? "was chosen" : "would be chosen";
  return [
    el("p", { class: "lead" }, found.refusal || found.model ? verdict(found, chosen) : "Nothing was decided."),
    facts([["Reason", plain(found.reason)], ["Score", [score, threshold]], ["Data class", found.facts?.class],
      ["Plan", (found.plan ?? []).join(", then ")]]),
    found.withheld ? el("p", { class: "wait" }, `More is not told here: ${found.withheld}.`) : inWords(found.explanation),
    candidates(found),
  ];
}
