// The shell: which page is shown, when it is refreshed, and what is said when that fails.
//
// A page is a function `(app, words) -> {title, node, every, load(signal), show(data)}`, with `words` from the address
// (`#/page/id?word=value`). `load` fetches, `show` draws; a failed load leaves the last good drawing in place. A page
// that can follow new words without being built anew has `follow(words)`.

import * as api from "./api.js";
import { budgets } from "./budgets.js";
import { clock, el } from "./kit.js";
import { models } from "./models.js";
import { overview } from "./overview.js";
import { request, requests } from "./requests.js";
import { residency } from "./residency.js";
import { shadow } from "./shadow.js";

const PAGES = { overview, requests, request, models, budgets, residency, shadow };

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

function address() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?", 2);
  const [name, id] = path.split("/");
  const words = Object.fromEntries(new URLSearchParams(query));
  if (name === "requests" && id) return { name: "request", id: plain(id), path, words };
  if (Object.hasOwn(PAGES, name)) return { name, id: "", path, words };
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
  shown = { name, id, page, timer: 0, abort: null, drawn: false };
  document.title = `${page.title} · Sluice`;
  for (const link of document.querySelectorAll("nav a")) {
    const here = link.dataset.page === (name === "request" ? "requests" : name);
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
  try {
    const data = await mine.page.load(abort.signal);
    if (stale()) return;
    mine.page.node.hidden = false;
    by("loading")?.remove();
    mine.page.show(data);
    mine.drawn = true;
    by("problem").replaceChildren();
    by("updated").textContent = `Updated ${clock(new Date())}`;
    plan();
  } catch (error) {
    if (stale()) return;
    by("loading")?.remove();
    trouble(error, mine.drawn);
    // Without a token there is nothing to wait for.
    if (error.status !== 401) plan();
  }
  by("forget").hidden = !api.hasToken();
}

function plan() {
  clearTimeout(shown.timer);
  const every = shown.page.every;
  by("pause").hidden = every === 0;
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

// === Start ===

by("pause").addEventListener("click", () => {
  paused = !paused;
  by("pause").textContent = paused ? "Resume updates" : "Pause updates";
  if (paused) clearTimeout(shown.timer);
  else refresh();
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
});
addEventListener("hashchange", turn);
turn();
