// Models: which are ready, how far the others are, what they cost.

import { get } from "./api.js";
import { amount, count, decimals, el, nanos, plain, quiet, route, table } from "./kit.js";

export function models(app) {
  let digits = 4;
  let before = new Map();
  // No price is not the price zero: a model in this process has none and is free.
  const price = (row, rate) => (rate === null && row.price_source === "in_process" ? quiet("free")
    : amount(nanos(rate), digits));
  const view = table({
    caption: "Configured models",
    empty: "No model is configured. Add a [models.\"NAME\"] section and name it in [router].",
    stack: true,
    key: (row) => row.model,
    columns: [
      { head: "Model", row: true, cell: (row) => [row.model, row.upstream !== row.model && under(row.upstream)] },
      { head: "State", cell: state },
      { head: "Route", cell: (row) => route(row.route) },
      { head: "Provider", cell: (row) => [row.provider, row.region && under(`region ${row.region}`)] },
      { head: "Context", num: true, cell: (row) => count(row.context_window) || "–" },
      { head: "Memory, MiB", num: true, cell: (row) => (row.memory_bytes ? count(row.memory_bytes / MIB) : "–") },
      { head: "Input, $/M tokens", num: true, cell: (row) => price(row, row.input_usd_per_mtok) },
      { head: "Output, $/M tokens", num: true, cell: (row) => price(row, row.output_usd_per_mtok) },
      { head: "Price from", cell: (row) => plain(row.price_source) },
      { head: "Source", cell: (row) => row.source ?? "" },
    ],
  });
  const page = {
    title: "Models",
    node: view.node,
    every: 10_000,
    load: (signal) => get("/api/models", {}, signal),
    show({ models }) {
      page.every = models.some((row) => row.state === "loading") ? 2_000 : 10_000;
      const prices = models.flatMap((row) => [row.input_usd_per_mtok, row.output_usd_per_mtok]);
      digits = Math.min(4, decimals(prices.map(nanos)));
      view.show(models, digits);
      const now = new Map(models.map((row) => [row.model, row.state]));
      const turned = [...now].filter(([model, state]) => before.has(model) && before.get(model) !== state);
      if (turned.length > 0) app.announce(turned.map(([model, state]) => `Model ${model} is now ${state}.`).join(" "));
      before = now;
    },
  };
  return page;
}

const MIB = 1_048_576;
const under = (text) => el("span", { class: "under" }, text);

function state(row) {
  const word = { ready: "good", loading: "wait", down: "bad" }[row.state] ?? "wait";
  const loading = row.state === "loading";
  const known = typeof row.progress === "number";
  return [
    el("span", { class: `state ${word}` }, row.state, known && loading ? ` ${Math.floor(row.progress * 100)}%` : ""),
    loading && el("progress", { max: "1", value: known ? row.progress : null, "aria-label": `Loading ${row.model}` }),
    row.why ? under(row.why) : null,
  ];
}
