// The page on the admin listener in a real browser: every page, every control, and what a screen reader needs.

import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import path from "node:path";
import { after, before, test } from "node:test";
import { CHROMIUM, PATIENCE, SPLIT, TOKEN, eventually, gateway, load } from "./harness.js";

let playwright = null;
try {
  playwright = load("playwright-core");
} catch {
  // Said below.
}
const missing = !CHROMIUM ? "there is no Chromium on this machine (Debian: chromium)"
  : !playwright ? "playwright-core is not installed: scripts/setup-tests" : null;
if (missing) console.log(`skipped: ${missing}`);
const check = (name, run) => test(name, { skip: missing ?? false, timeout: 3 * PATIENCE }, run);

const PAIRS = 25;
const EASY = "What is the capital of France?";
const HARD = "Prove that there are infinitely many primes, then derive a bound on the n-th prime step by step, analyse the "
  + "complexity of the sieve algorithm and implement it.";
// Where pictures for the README go, when somebody wants them.
const PICTURES = process.env.SLUICE_TEST_PICTURES;

let served = null;
let browser = null;
let asked = [];

before(async () => {
  if (missing) return;
  served = await gateway();
  for (let n = 0; n < PAIRS; n += 1) {
    const headers = { "x-sluice-tags": "job=nightly", "x-sluice-session": `s-${n % 3}` };
    asked.push(await served.ask(n % 3 === 0 ? HARD : EASY, headers));
    // One after the other, so that none is passed over for want of a place.
    await eventually(`pair ${n + 1}`, async () => (await served.api("/api/experiments/nightly")).whole.pairs > n);
  }
  browser = await playwright.chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox", "--disable-gpu"] });
});

after(async () => {
  await browser?.close();
  await served?.stop();
});

// A page of a fresh browser that has the token; whatever it complains of fails the test.
async function open(hash, options = {}, on = served) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, acceptDownloads: true, ...options });
  const complaints = [];
  await context.addInitScript((token) => sessionStorage.setItem("sluice-admin-token", token), TOKEN);
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("console", (message) => {
    // A refusal that a test asks for is logged by the browser itself.
    if (message.type() === "error" && !message.text().startsWith("Failed to load resource")) complaints.push(message.text());
  });
  page.on("request", (request) => {
    const url = request.url();
    if (!url.startsWith(on.admin) && !url.startsWith("blob:")) complaints.push(`asked elsewhere: ${url}`);
  });
  await page.goto(`${on.admin}/${hash}`);
  await page.locator("#loading").waitFor({ state: "detached" });
  const close = async () => {
    await context.close();
    assert.deepEqual(complaints, []);
  };
  return { page, close };
}

const pages = () => [["overview", "#/overview"], ["requests", "#/requests"], ["request", `#/requests/${asked[0]}`],
  ["models", "#/models"], ["budgets", "#/budgets"], ["residency", "#/residency"], ["compare", "#/compare"],
  ["experiment", "#/compare/nightly"], ["vote", "#/vote/nightly"],
  ["playground", "#/playground"]];

for (const [look, options] of [
  ["light", { colorScheme: "light" }],
  ["dark", { colorScheme: "dark" }],
  ["light on a phone", { colorScheme: "light", viewport: { width: 375, height: 740 } }],
  ["dark on a phone", { colorScheme: "dark", viewport: { width: 375, height: 740 } }],
]) {
  check(`no page has a serious accessibility finding: ${look}`, async () => {
    for (const [name, hash] of pages()) {
      const { page, close } = await open(hash, options);
      assert.equal(await page.locator("#problem").innerText(), "", name);
      // Added with the debugger's leave, not the page's: its policy stays as strict as it is.
      await page.evaluate(load("axe-core").source);
      const found = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
      const serious = found.violations.filter(({ impact }) => ["serious", "critical"].includes(impact));
      const told = serious.map(({ id, nodes }) => `${id}: ${nodes.slice(0, 3).map((node) => node.html).join(" | ")}`);
      assert.deepEqual(told, [], `${name}, ${look}`);
      const wider = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      assert.ok(wider <= 0, `${name}, ${look}: ${wider} pixels wider than the screen`);
      if (PICTURES) {
        await mkdir(PICTURES, { recursive: true });
        await page.screenshot({ path: path.join(PICTURES, `${name}-${look.replaceAll(" ", "-")}.png`) });
      }
      await close();
    }
  });
}

check("the token is asked for, refused when it is wrong, kept, and forgotten", async () => {
  const context = await browser.newContext();
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  await page.goto(`${served.admin}/`);
  await page.fill("#token-input", "wrong");
  await page.click("#token-form button.main");
  await page.getByText("That token was not accepted.").waitFor();
  await page.click("#token-cancel");
  await page.getByText("The gateway asks for its admin token.").first().waitFor();
  await page.getByRole("button", { name: "Enter token" }).click();
  await page.fill("#token-input", TOKEN);
  await page.click("#token-form button.main");
  await page.locator(".cards .big").first().waitFor();
  await page.click("#forget");
  await page.locator("#token-dialog[open]").waitFor();
  await context.close();
});

check("the overview shows what the ledger has, for each span and grouping", async () => {
  const { page, close } = await open("#/overview");
  const { total } = await served.api("/api/spend?group_by=model");
  const digits = total.cost_usd.replace(/0+$/, "").slice(0, 7);
  assert.ok((await page.locator("#page").innerText()).includes(digits), digits);
  for (const span of ["today", "month", "week"]) {
    await page.check(`input[name=span][value=${span}]`);
    await page.waitForURL(new RegExp(`span=${span}`));
  }
  for (const by of ["provider", "route", "key", "team", "tag", "day", "model"]) {
    await page.selectOption("#group-by", by);
    await page.waitForURL(new RegExp(`by=${by}`));
  }
  await page.getByText("The same as a table").click();
  await page.click("#pause");
  await page.getByRole("button", { name: "Resume updates" }).click();
  await page.click("nav a[data-page=requests]");
  await page.getByRole("heading", { name: "Requests", exact: true }).waitFor();
  await close();
});

check("requests are searched by id, session, key, tag, model and reason", async () => {
  const { page, close } = await open("#/requests");
  const rows = page.locator("#page tbody tr");
  const { requests } = await served.api("/api/requests?limit=1000");
  const reason = requests[0].reason;
  const session = (row) => row.session === "s-1";
  for (const [place, word, wanted] of [
    ["id", asked[3], (row) => row.id === asked[3]],
    ["session", "s-1", session],
    ["", "s-1", session],
    ["tag", "job=nightly", (row) => row.tags.job === "nightly"],
    ["tag", "job", (row) => row.tags.job],
    ["model", "big", (row) => row.model === "big"],
    ["reason", reason, (row) => row.reason === reason],
    ["key", "nobody", () => false],
    ["tag", "job=night", () => false],
    ["session", "' OR 1=1 --", () => false],
  ]) {
    await page.selectOption("#in", place);
    await page.fill("#find", word);
    await page.click("#search");
    const count = requests.filter(wanted).length;
    await eventually(`${count} rows for ${place} ${word}`, async () => await rows.count() === Math.min(50, count));
  }
  await page.fill("#find", "");
  await page.click("#search");
  await page.selectOption("#route", "hosted");
  await page.selectOption("#span", "60");
  await eventually("the hosted ones", async () => await rows.count()
    === requests.filter((row) => row.route === "hosted").length);
  await rows.first().locator("a").click();
  await page.getByRole("heading", { name: "Evidence" }).waitFor();
  await close();
});

check("one request's whole way is on one screen", async () => {
  const { page, close } = await open(`#/requests/${asked[0]}`);
  const text = await page.locator("#page").innerText();
  for (const heading of ["In words", "Data class", "Candidates", "Attempts", "Evidence", "Facts", "Signals"]) {
    assert.ok(text.includes(heading), heading);
  }
  assert.ok(text.includes("the default of the configuration"), "what set the class");
  const attempts = page.getByRole("table", { name: "Attempts with tokens and money" });
  assert.match(await attempts.innerText(), /us/, "the region of an attempt");
  const records = page.getByRole("table", { name: "Records of the evidence log on this request" });
  assert.match(await records.innerText(), /dial/);
  const [saved] = await Promise.all([page.waitForEvent("download"), page.click("#save-evidence")]);
  assert.equal(saved.suggestedFilename(), `evidence-${asked[0]}.jsonl`);
  await page.getByText("The whole record as JSON").click();
  await page.getByRole("link", { name: "Back to requests" }).click();
  await page.getByRole("heading", { name: "Requests", exact: true }).waitFor();
  await close();
});

check("a request that ends is on the list without anybody asking again", async () => {
  const context = await browser.newContext();
  await context.addInitScript((token) => sessionStorage.setItem("sluice-admin-token", token), TOKEN);
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  // Its clock goes three seconds, and no page polls as often as that: without the line nothing would be asked again.
  await page.clock.install();
  const events = page.waitForResponse((answer) => answer.url().endsWith("/api/events"));
  await page.goto(`${served.admin}/#/requests`);
  await events;
  await page.clock.pauseAt(new Date(Date.now() + 3_600_000));
  await page.locator("#page tbody tr").first().waitFor();
  const polled = page.waitForResponse((answer) => answer.url().includes("/api/requests?"));
  const id = await served.ask(EASY);
  let gone = 0;
  const asked = polled.then(() => true);
  while (!await Promise.race([asked, new Promise((done) => { setTimeout(done, 200, false); })])) {
    assert.ok((gone += 50) <= 3_000, "nothing was asked again within three seconds of the page");
    await page.clock.runFor(50);
  }
  await page.locator(`[id="r-${id}"]`).waitFor();
  await context.close();
});

check("a verdict is said in words, a slice is opened and that undone, each after a question", async () => {
  const { page, close } = await open("#/shadow?experiment=nightly");
  await page.getByRole("heading", { name: "nightly" }).waitFor();
  const told = await served.api("/api/experiments/nightly");
  const lead = await page.locator(".lead").innerText();
  assert.match(lead, told.verdict === "worse" ? /^worse/ : /^not yet known/, lead);
  assert.ok(!lead.includes("%"), "no bare percentage");
  await page.locator("svg polygon.band").waitFor();
  await page.getByText("The same as a table").click();
  const slice = page.locator("button[id^='slice-']").first();
  const name = (await slice.getAttribute("aria-label")).replace(/^(Open|Close) /, "");
  await slice.click();
  await page.getByRole("button", { name: "Cancel" }).last().click();
  assert.equal((await served.api("/api/experiments/nightly")).steps.length, told.steps.length, "nothing without a yes");
  await slice.click();
  await page.click("#confirm-yes");
  const undo = page.getByRole("button", { name: `Undo: close ${name}` });
  await undo.click();
  await page.click("#confirm-yes");
  await page.getByRole("button", { name: `Undo: open ${name}` }).waitFor();
  const { steps, opened } = await served.api("/api/experiments/nightly");
  assert.deepEqual(steps.slice(-2).map((step) => [step.opened, step.by]), [[true, "person"], [false, "person"]]);
  assert.deepEqual(opened, told.opened);
  assert.ok(await page.locator("mark").count() > 0, "differing words are marked");
  await page.uncheck("#marking");
  assert.equal(await page.locator("mark").count(), 0);
  const [saved] = await Promise.all([page.waitForEvent("download"), page.click("#export")]);
  assert.equal(saved.suggestedFilename(), "nightly.jsonl");
  await page.click("#to-vote");
  await page.getByRole("heading", { name: "Vote on nightly" }).waitFor();
  await close();
});

check("people vote blind, by button and by key", async () => {
  const { page, close } = await open("#/vote/nightly");
  const text = await page.locator("#page").innerText();
  assert.ok(!/\b(small|big|left|right)\b/.test(text), "no names and sides");
  const waiting = async () => (await served.api("/api/experiments/nightly/votes")).open;
  const first = await waiting();
  await page.fill("#voter", "ann");
  for (const [at, cast] of [() => page.click("#vote-a"), () => page.click("#vote-tie"), () => page.click("#vote-b")].entries()) {
    await cast();
    await page.getByText(`you voted ${at + 1} `).waitFor();
  }
  await page.locator("h1").focus();
  for (const [at, key] of ["a", "t", "b"].entries()) {
    await page.keyboard.press(key);
    await page.getByText(`you voted ${at + 4} `).waitFor();
  }
  assert.equal(await waiting(), first - 6);
  await page.uncheck("#keys");
  await page.locator("h1").focus();
  await page.keyboard.press("a");
  await page.check("#keys");
  await page.focus("#voter");
  await page.keyboard.type("bat");
  assert.equal(await waiting(), first - 6, "neither a key that is switched off nor a name is a vote");
  const { pairs } = await served.api("/api/experiments/nightly");
  assert.equal(pairs.filter((pair) => pair.human !== null).length, 6);
  await close();
});

check("the playground asks both sides, and what it asks is on the ledger under its tag", async () => {
  const { page, close } = await open("#/playground");
  await page.fill("#prompt", EASY);
  await page.getByText("System prompt").first().click();
  await page.fill("#system", "Be brief.");
  await page.fill("#most", "64");
  await page.click("#ask");
  for (const [side, model] of [["left", "small"], ["right", "big"]]) {
    const facts = page.locator(`#${side}-facts`);
    await facts.getByText("First token").waitFor();
    assert.match(await facts.innerText(), new RegExp(`${model}[\\s\\S]*ms[\\s\\S]*\\$`), side);
    assert.ok((await page.locator(`#${side}-answer`).innerText()).length > 0, side);
  }
  await page.getByRole("table", { name: "Every candidate and what struck it out" }).waitFor();
  const found = await eventually("both are on the ledger", async () => {
    const { requests } = await served.api("/api/requests?find=sluice%3Dplayground&in=tag");
    return requests.length === 2 && requests;
  });
  assert.deepEqual(found.map((row) => row.model).sort(), ["big", "small"]);
  // What may not leave the house does not, and says so.
  await page.selectOption("#class", "restricted");
  await page.keyboard.press("Tab");
  await page.focus("#prompt");
  await page.keyboard.press("Control+Enter");
  await eventually("the hosted side is refused", async () => (await page.locator("#right-failed").innerText()).includes("403"));
  await page.locator("#left-facts").getByText("First token").waitFor();
  // A slow answer is stopped.
  await page.selectOption("#class", "");
  await page.selectOption("#left", "model:slow");
  await page.selectOption("#right", "side:auto");
  await page.click("#ask");
  await eventually("it has begun", async () => (await page.locator("#left-answer").innerText()).includes("word3"));
  await page.click("#stop");
  await page.locator("#left-failed").getByText("Stopped.").waitFor();
  await close();
});

check("the other pages' controls do what they say", async () => {
  const { page, close } = await open("#/residency");
  for (const days of ["1", "30", "", "7"]) await page.selectOption("#days", days);
  await page.goto(`${served.admin}/#/models`);
  await page.getByText("small").first().waitFor();
  await page.keyboard.press("Tab");
  await page.goto(`${served.admin}/#/compare`);
  await page.getByRole("link", { name: "nightly" }).click();
  await page.getByRole("heading", { name: "nightly" }).waitFor();
  await page.getByRole("link", { name: "Back to all experiments" }).click();
  await page.getByRole("heading", { name: "Compare", exact: true }).waitFor();
  await page.locator("#skip").focus();
  await page.keyboard.press("Enter");
  assert.equal(await page.evaluate(() => document.activeElement.id), "main");
  await close();
});

check("a split says its verdict, too", async () => {
  const other = await gateway(SPLIT);
  const { page, close } = await open("#/compare", {}, other);
  await page.getByRole("link", { name: "half" }).click();
  await page.getByRole("heading", { name: "half" }).waitFor();
  assert.match(await page.locator(".lead").innerText(), /^not yet known/);
  await page.getByText("0 left, 0 right (labels)").waitFor();
  await close();
  await other.stop();
});
