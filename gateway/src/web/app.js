// The shell: which page is shown, when it is refreshed, and what is said when that fails.
//
// A page is a function `(app, words) -> {title, node, every, load(signal), show(data)}`, with `words` from the address
// (`#/page/id?word=value`). `load` fetches, `show` draws; a failed load leaves the last good drawing in place. A page
// that can follow new words without being built anew has `follow(words)`; one with `live` is drawn again when a request
// has ended.

import * as api from "./api.js";
import { vote } from "./ballot.js";
import { budgets } from "./budgets.js";
import { compare, experiment } from "./compare.js";
import { clock, el } from "./kit.js";
import { live } from "./live.js";
import { models } from "./models.js";
import { overview } from "./overview.js";
import { playground } from "./playground.js";
import { request } from "./request.js";
import { requests } from "./requests.js";
import { residency } from "./residency.js";

const PAGES = { overview, requests, request, models, budgets, residency, compare, experiment, vote, playground };
// Pages that are about one thing, and the entry of the navigation that they belong to.
const ONE = { requests: "request", compare: "experiment", vote: "vote" };
const ENTRY = { request: "requests", experiment: "compare", vote: "compare" };
// While the gateway tells of ends by itself, a page that listens asks for the rest this seldom (milliseconds).
const SELDOM = 30_000;
// And after an event not sooner than this.
const SOON = 1_000;
// A ledger that takes longer than a second to answer rests so many times as long.
const REST = 10;

const by = (id) => document.getElementById(id);

let shown = null;
let paused = false;

// What a page may ask of the shell.
const app = {
  // Says something to who cannot see it.
  announce(text) {
    by("announce").textContent = text;
  },
  about(version, started) {
    by("about").replaceChildren(`Sluice ${version}`, started ? ", running since " : "", started ?? "");
  },
  // Changes the words of the address; null and "" take one away.
  say(changes) {
    const { path, words } = address();
    const query = new URLSearchParams(Object.entries({ ...words, ...changes }).filter(([, value]) => value));
    const next = `#/${path}${query.size ? `?${query}` : ""}`;
    if (next !== location.hash) location.hash = next;
  },
  refresh: () => refresh(),
  confirm,
};

// === The address ===

function address(hash = location.hash) {
  const [path, query = ""] = hash.replace(/^#\/?/, "").split("?", 2);
  const [name, id] = path.split("/");
  const words = Object.fromEntries(new URLSearchParams(query));
  // Where the page of shadows was.
  if (name === "shadow") return address(words.experiment ? `#/compare/${encodeURIComponent(words.experiment)}` : "#/compare");
  if (Object.hasOwn(ONE, name) && id) return { name: ONE[name], id: plain(id), path, words };
  if (Object.hasOwn(PAGES, name) && !Object.hasOwn(ENTRY, name)) return { name, id: "", path, words };
  return { name: "overview", id: "", path: "overview", words };
}

function plain(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function turn() {
  const { name, id, words } = address();
  if (shown?.name === name && shown.id === id && shown.page.follow) {
    shown.page.follow(words);
    refresh();
    return;
  }
  leave();
  const first = shown === null;
  const page = PAGES[name](app, { ...words, id });
  shown = { name, id, page, timer: 0, abort: null, drawn: false, rest: 0 };
  document.title = `${page.title} · Sluice`;
  for (const link of document.querySelectorAll("nav a")) {
    const here = link.dataset.page === (ENTRY[name] ?? name);
    if (here) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const heading = el("h1", { tabindex: "-1" }, page.heading ?? page.title);
  by("page").replaceChildren(heading, page.node);
  page.node.hidden = true;
  heading.after(el("p", { class: "empty", id: "loading" }, "Loading…"));
  by("problem").replaceChildren();
  by("updated").textContent = "";
  scrollTo(0, 0);
  if (!first) heading.focus({ preventScroll: true });
  refresh();
}

function leave() {
  if (!shown) return;
  clearTimeout(shown.timer);
  shown.abort?.abort();
  shown.page.leave?.();
}

// === Refreshing ===

async function refresh() {
  const mine = shown;
  clearTimeout(mine.timer);
  mine.abort?.abort();
  const abort = new AbortController();
  mine.abort = abort;
  const stale = () => shown !== mine || abort.signal.aborted;
  const began = performance.now();
  try {
    const data = await mine.page.load(abort.signal);
    if (stale()) return;
    const took = performance.now() - began;
    mine.rest = took > SOON ? REST * took : 0;
    mine.page.node.hidden = false;
    by("loading")?.remove();
    mine.page.show(data);
    mine.drawn = true;
    by("problem").replaceChildren();
    by("updated").textContent = `Updated ${clock(new Date())}`;
    plan();
    // Only now: whoever needed a token has it.
    listen();
    greet();
  } catch (error) {
    if (stale()) return;
    by("loading")?.remove();
    trouble(error, mine.drawn);
    // Without a token there is nothing to wait for.
    if (error.status !== 401) plan();
  }
  by("forget").hidden = !api.hasToken();
}

// Says who is signed in, where a proxy told the gateway a name. Once: who comes back as somebody else loads the page anew.
let greeted = false;
async function greet() {
  if (greeted) return;
  greeted = true;
  try {
    const { name } = await api.get("/api/operator");
    by("operator").hidden = !name;
    by("operator").textContent = name ? `Signed in as ${name}` : "";
  } catch {
    greeted = false;
  }
}

function plan() {
  clearTimeout(shown.timer);
  let { every } = shown.page;
  by("pause").hidden = every === 0;
  if (every > 0 && shown.page.live && events.up()) every = Math.max(every, SELDOM);
  if (every > 0) every = Math.max(every, shown.rest);
  if (every > 0 && !paused && !document.hidden) shown.timer = setTimeout(refresh, every);
}

function trouble(error, drawn) {
  if (!(error instanceof api.ApiError)) console.error(error);
  const locked = error.status === 401;
  const old = drawn ? " What is shown below is older." : "";
  const text = error instanceof api.ApiError ? error.message : "This page failed to draw what the gateway sent.";
  const said = by("problem").querySelector("span");
  if (said?.textContent === text + old) return;
  const again = () => {
    api.askAgain();
    refresh();
  };
  by("problem").replaceChildren(el("p", { class: "problem" }, el("span", {}, text + old),
    el("button", { type: "button", class: "small", on: { click: again } }, locked ? "Enter token" : "Try again")));
}

function confirm({ title, text, yes }) {
  by("confirm-title").textContent = title;
  by("confirm-text").textContent = text;
  by("confirm-yes").textContent = yes;
  const dialog = by("confirm");
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((done) => {
    dialog.addEventListener("close", () => done(dialog.returnValue === "yes"), { once: true });
  });
}

// === Live ===

let told = 0;
const events = live(() => {
  if (told !== 0 || paused || document.hidden || !shown.page.live || shown.page.every === 0) return;
  told = setTimeout(() => {
    told = 0;
    if (!paused && !document.hidden && shown.page.live && shown.page.every > 0) refresh();
  }, Math.max(SOON, shown.rest));
}, () => plan());

function listen() {
  if (shown?.page.live && !paused && !document.hidden) events.start();
  else events.stop();
}

// === Start ===

by("pause").addEventListener("click", () => {
  paused = !paused;
  by("pause").textContent = paused ? "Resume updates" : "Pause updates";
  if (paused) clearTimeout(shown.timer);
  else refresh();
  listen();
});
by("forget").addEventListener("click", () => {
  api.forgetToken();
  location.reload();
});
by("skip").addEventListener("click", (event) => {
  event.preventDefault();
  by("main").focus();
});
document.addEventListener("visibilitychange", () => {
  if (document.hidden || paused) clearTimeout(shown.timer);
  else if (shown.page.every > 0) refresh();
  listen();
});
addEventListener("hashchange", turn);
turn();
