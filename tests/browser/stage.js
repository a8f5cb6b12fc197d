// What the tests of the page stand on: one gateway with pairs to look at, one browser, pages that complain loudly.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { CONTROLS, OPERABLE, SHELL, WATCH } from "./controls.js";
import { CHROMIUM, PATIENCE, TOKEN, eventually, gateway, load, skipped } from "./harness.js";

let playwright = null;
try {
  playwright = load("playwright-core");
} catch {
  // Said below.
}
const missing = !CHROMIUM ? skipped("chromium", "there is no Chromium on this machine (Debian: chromium)")
  : !playwright ? skipped("node", "playwright-core is not installed: scripts/setup-tests") : null;
export const check = (name, run) => test(name, { skip: missing ?? false, timeout: 3 * PATIENCE }, run);

const PAIRS = 25;
export const EASY = "What is the capital of France?";
export const HARD = "Prove that there are infinitely many primes, then derive a bound on the n-th prime step by step, analyse the "
  + "complexity of the sieve algorithm and implement it.";

// Filled before the first test.
export const stage = { served: null, browser: null, asked: [] };
// Controls that somebody has operated, as controls.js names them.
export const driven = new Set();

before(async () => {
  if (missing) return;
  const served = await gateway();
  Object.assign(stage, { served });
  for (let n = 0; n < PAIRS; n += 1) {
    // Most have a tag, so that one of the slices is large enough to be looked at, and is not everything.
    const headers = { "x-sluice-session": `s-${n % 3}`, ...(n > 1 && { "x-sluice-tags": "job=nightly" }) };
    stage.asked.push(await served.ask(n % 3 === 0 ? HARD : EASY, headers));
    // One after the other, so that none is passed over for want of a place.
    await eventually(`pair ${n + 1}`, async () => (await served.api("/api/experiments/nightly")).whole.pairs > n);
  }
  stage.browser = await playwright.chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox", "--disable-gpu"] });
});

after(async () => {
  await stage.browser?.close();
  await stage.served?.stop();
});

export const pages = () => [["overview", "#/overview"], ["requests", "#/requests"], ["request", `#/requests/${stage.asked[0]}`],
  ["models", "#/models"], ["budgets", "#/budgets"], ["residency", "#/residency"], ["compare", "#/compare"],
  ["experiment", "#/compare/nightly"], ["vote", "#/vote/nightly"], ["playground", "#/playground"]];

// A page of a fresh browser that has the token, unless `token` is false; whatever it complains of fails the test when it is
// closed.
export async function open(hash, { token = TOKEN, ...options } = {}, admin = stage.served.admin) {
  const context = await stage.browser.newContext({ viewport: { width: 1280, height: 900 }, acceptDownloads: true, ...options });
  const complaints = [];
  await context.exposeFunction("driven", (name) => driven.add(name));
  await context.addInitScript(WATCH);
  if (token) await context.addInitScript((token) => sessionStorage.setItem("sluice-admin-token", token), token);
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("console", (message) => {
    // A refusal that a test asks for is logged by the browser itself.
    if (message.type() === "error" && !message.text().startsWith("Failed to load resource")) complaints.push(message.text());
  });
  page.on("request", (request) => {
    const url = request.url();
    if (!url.startsWith(admin) && !url.startsWith("blob:")) complaints.push(`asked elsewhere: ${url}`);
  });
  await page.goto(`${admin}/${hash}`);
  await page.waitForFunction(() => !document.getElementById("loading") || document.querySelector("dialog[open]"));
  const close = async () => {
    await context.close();
    assert.deepEqual(complaints, []);
  };
  return { page, close };
}

// Goes to another page by its address, as a link does.
export async function go(page, hash) {
  await page.evaluate((hash) => new Promise((done) => {
    if (location.hash === hash) return done();
    // The page's own listener was there first.
    addEventListener("hashchange", () => done(), { once: true });
    location.hash = hash;
  }), hash);
  await page.locator("#loading").waitFor({ state: "detached" });
}

// No finding of axe, however small, nothing wider than the screen, no control that the table has not.
export async function clean(page, where) {
  // Added with the debugger's leave, not the page's: its policy stays as strict as it is.
  if (!await page.evaluate(() => "axe" in globalThis)) await page.evaluate(load("axe-core").source);
  const found = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  const told = found.violations.map(({ id, impact, nodes }) =>
    `${id} (${impact}): ${nodes.slice(0, 3).map((node) => node.html).join(" | ")}`);
  assert.deepEqual(told, [], where);
  const wider = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  assert.ok(wider <= 0, `${where}: ${wider} pixels wider than the screen`);
  assert.deepEqual(await strangers(page), [], `${where}: controls that are not in controls.js`);
}

// What can be operated on the page as it is, and is not in the table.
async function strangers(page) {
  return page.evaluate(([shell, controls, operable]) => {
    const known = [...shell, ...(controls[globalThis.shownPage()] ?? [])].join(", ");
    return [...document.querySelectorAll(operable)].filter((node) => node.checkVisibility() && !node.matches(known))
      .map((node) => node.outerHTML.slice(0, 160));
  }, [SHELL, CONTROLS, OPERABLE]);
}
