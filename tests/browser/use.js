// Each page as it is used: what it shows is what the ledger has, and each control does what it says.

import assert from "node:assert/strict";
import { SPLIT, TOKEN, eventually, gateway } from "./harness.js";
import { EASY, HARD, check, clean, open, stage } from "./stage.js";

check("the token is asked for, refused when it is wrong, kept, and forgotten", async () => {
  const { page, close } = await open("", { token: null });
  await page.fill("#token-input", "wrong");
  await page.click("#token-form button.main");
  await page.getByText("That token was not accepted.").waitFor();
  await clean(page, "the question for the token, after a wrong one");
  await page.click("#token-cancel");
  await page.getByText("The gateway asks for its admin token.").first().waitFor();
  await clean(page, "without a token");
  await page.getByRole("button", { name: "Enter token" }).click();
  await page.fill("#token-input", TOKEN);
  await page.click("#token-form button.main");
  await page.locator(".cards .big").first().waitFor();
  await page.click("#forget");
  await page.locator("#token-dialog[open]").waitFor();
  await close();
});

check("the overview shows what the ledger has, for each span and grouping, in charts and as a table", async () => {
  const { page, close } = await open("#/overview");
  const { total } = await stage.served.api("/api/spend?group_by=model");
  const digits = total.cost_usd.replace(/0+$/, "").slice(0, 7);
  assert.ok((await page.locator("#page").innerText()).includes(digits), digits);
  await page.click("#trend-numbers > summary");
  const numbers = page.locator("#trend-numbers tbody tr");
  for (const [span, by] of [["hour", "minute"], ["today", "hour"], ["month", "day"], ["week", "hour"]]) {
    await page.check(`input[name=span][value=${span}]`);
    await page.waitForURL(new RegExp(`span=${span}`));
    // A span begins where the page says; here all of it is within the last minutes.
    const { rows } = await stage.served.api(`/api/series?by=${by}&since=${new Date(Date.now() - 3_600_000).toISOString()}`);
    await eventually(`${rows.length} pieces of a ${by}`, async () => await numbers.count() === rows.length);
    const attempts = (await numbers.locator("td:nth-of-type(1)").allInnerTexts()).map(Number);
    assert.equal(attempts.reduce((all, one) => all + one, 0), rows.reduce((all, row) => all + row.attempts, 0), span);
    assert.equal(await page.locator(".chart canvas").count(), 5, span);
  }
  for (const by of ["provider", "route", "key", "team", "tag", "day", "model"]) {
    await page.selectOption("#group-by", by);
    await page.waitForURL(new RegExp(`by=${by}`));
  }
  await clean(page, "the overview with its table open");
  await page.click("#pause");
  await page.getByRole("button", { name: "Resume updates" }).click();
  await page.click("nav a[data-page=requests]");
  await page.getByRole("heading", { name: "Requests", exact: true }).waitFor();
  await close();
});

check("requests are searched by id, session, key, tag, model and reason", async () => {
  const { page, close } = await open("#/requests");
  const rows = page.locator("#page tbody tr");
  const { requests } = await stage.served.api("/api/requests?limit=1000");
  const reason = requests[0].reason;
  const session = (row) => row.session === "s-1";
  for (const [place, word, wanted] of [
    ["id", stage.asked[3], (row) => row.id === stage.asked[3]],
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
  await clean(page, "a search that finds nothing");
  await page.fill("#find", "");
  await page.click("#search");
  // What the experiment's copy cost stands below what the answer cost, which was nothing.
  const easy = requests.find((row) => row.id === stage.asked[1]);
  assert.ok(Number(easy.cost_usd) === 0 && Number(easy.experiment_cost_usd) > 0, JSON.stringify(easy));
  await page.locator(`tr:has([id="r-${easy.id}"])`).getByText(/^to compare 0[.]/).waitFor();
  await page.selectOption("#route", "hosted");
  await page.selectOption("#span", "60");
  await eventually("the hosted ones", async () => await rows.count()
    === requests.filter((row) => row.route === "hosted").length);
  await rows.first().locator("a").click();
  await page.getByRole("heading", { name: "Evidence" }).waitFor();
  await page.goBack();
  // A click anywhere in a row opens it.
  await rows.nth(1).locator("td").nth(2).click();
  await page.getByRole("heading", { name: "Evidence" }).waitFor();
  await close();
});

check("one request's whole way is on one screen", async () => {
  const { page, close } = await open(`#/requests/${stage.asked[0]}`);
  const text = await page.locator("#page").innerText();
  for (const heading of ["In words", "Data class", "Candidates", "Attempts", "Evidence", "Facts", "Signals"]) {
    assert.ok(text.includes(heading), heading);
  }
  assert.ok(text.includes("the default of the configuration"), "what set the class");
  assert.ok(text.includes("Beside it, for comparing"), "what the experiment spent is not the answer's cost");
  const attempts = page.getByRole("table", { name: "Attempts with tokens and money" });
  assert.match(await attempts.innerText(), /us/, "the region of an attempt");
  const records = page.getByRole("table", { name: "Records of the evidence log on this request" });
  assert.match(await records.innerText(), /dial/);
  const [saved] = await Promise.all([page.waitForEvent("download"), page.click("#save-evidence")]);
  assert.equal(saved.suggestedFilename(), `evidence-${stage.asked[0]}.jsonl`);
  await page.click("#record > summary");
  await page.focus("#record > pre");
  await clean(page, "a request with its record open");
  await page.click("#back");
  await page.getByRole("heading", { name: "Requests", exact: true }).waitFor();
  await close();
});

check("a verdict is said in words, a slice is opened and that undone, each after a question", async () => {
  const { page, close } = await open("#/shadow?experiment=nightly");
  await page.getByRole("heading", { name: "nightly" }).waitFor();
  const told = await stage.served.api("/api/experiments/nightly");
  const lead = await page.locator(".lead").innerText();
  assert.match(lead, told.verdict === "worse" ? /^worse/ : /^not yet known/, lead);
  assert.ok(!lead.includes("%"), "no bare percentage");
  await page.locator(".chart canvas").waitFor();
  const said = () => page.locator(".chart").getAttribute("aria-label");
  const { pairs } = told.whole;
  assert.ok((await said()).includes(`over the number of pairs: after ${pairs} pairs`), await said());
  await page.selectOption("#over", "time");
  assert.ok((await said()).includes(`over time: after ${pairs} pairs`), await said());
  await page.getByText("The same as a table").click();
  assert.equal(await page.getByRole("table", { name: "The interval over the number of pairs" }).locator("tbody tr").count(),
    told.course.length);
  assert.ok(told.course.every((look, at) => at === 0 || look.time >= told.course[at - 1].time), "looks are in time");
  const slice = page.locator("button[id^='slice-']").first();
  const name = (await slice.getAttribute("aria-label")).replace(/^(Open|Close) /, "");
  await slice.click();
  await clean(page, "the question before a slice is opened");
  await page.click("#confirm button[value=no]");
  assert.equal((await stage.served.api("/api/experiments/nightly")).steps.length, told.steps.length, "nothing without a yes");
  await slice.click();
  await page.click("#confirm-yes");
  const undo = page.getByRole("button", { name: `Undo: close ${name}` });
  await undo.click();
  await page.click("#confirm-yes");
  await page.getByRole("button", { name: `Undo: open ${name}` }).waitFor();
  const { steps, opened } = await stage.served.api("/api/experiments/nightly");
  assert.deepEqual(steps.slice(-2).map((step) => [step.opened, step.by]), [[true, "person"], [false, "person"]]);
  assert.deepEqual(opened, told.opened);
  assert.ok(await page.locator("mark").count() > 0, "differing words are marked");
  const listed = page.locator("article.card");
  assert.equal(await listed.count(), 10);
  await page.click("#more-pairs");
  assert.equal(await listed.count(), Math.min(50, pairs));
  assert.ok(await listed.nth(10).locator("a").evaluate((link) => link === document.activeElement), "reading goes on there");
  await page.uncheck("#marking");
  assert.equal(await page.locator("mark").count(), 0);
  const [saved] = await Promise.all([page.waitForEvent("download"), page.click("#export")]);
  assert.equal(saved.suggestedFilename(), "nightly.jsonl");
  await page.locator("article a").first().click();
  await page.getByRole("heading", { name: "Evidence" }).waitFor();
  await page.goBack();
  await page.click("#to-vote");
  await page.getByRole("heading", { name: "Vote on nightly" }).waitFor();
  await page.click("#back");
  await page.getByRole("heading", { name: "nightly" }).waitFor();
  await page.click("#back");
  await page.getByRole("link", { name: "nightly" }).click();
  await page.getByRole("heading", { name: "nightly" }).waitFor();
  await close();
});

check("people vote blind, by button and by key", async () => {
  const { page, close } = await open("#/vote/nightly");
  const text = await page.locator("#page").innerText();
  assert.ok(!/\b(small|big|left|right)\b/.test(text), "no names and sides");
  const waiting = async () => (await stage.served.api("/api/experiments/nightly/votes")).open;
  const first = await waiting();
  await page.fill("#voter", "ann");
  await page.getByText("Prompt", { exact: true }).click();
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
  const { pairs } = await stage.served.api("/api/experiments/nightly");
  assert.equal(pairs.filter((pair) => pair.human !== null).length, 6);
  await close();
});

check("a key is made, shown once, rotated and revoked, and what is wrong is said beside the form", async () => {
  // On a gateway of its own: where there is a key, nobody without one is served.
  const served = await gateway("");
  const { page, close } = await open("#/budgets", {}, served.admin);
  await page.fill("#key-name", "ann");
  await page.fill("#key-team", "research");
  await page.fill("#key-user", "ann@example.org");
  await page.selectOption("#key-window", "month");
  await page.fill("#key-limit", "1.50");
  await page.selectOption("#key-expires", "90d");
  await page.check("#key-some");
  await page.click("#key-create");
  await page.getByText("Choose at least one model").waitFor();
  await page.getByLabel("small", { exact: true }).check();
  await page.click("#key-create");
  const secret = await page.inputValue("#key-secret");
  assert.match(secret, /^sk-sluice-/);
  await clean(page, "a fresh secret");
  await page.click("#key-secret");
  await page.click("#key-copy");
  await page.getByText(/Copied\.|Selected/).waitFor();
  await page.click("#key-stored");
  assert.ok(!(await page.content()).includes(secret), "it is gone");
  const [key] = (await served.api("/api/keys")).keys;
  assert.deepEqual([key.name, key.team, key.user, key.models], ["ann", "research", "ann@example.org", ["small"]]);
  assert.ok(Math.abs(Date.parse(key.expires) - Date.now() - 90 * 86_400_000) < 3_600_000, key.expires);
  await page.getByRole("row", { name: /key ann/ }).getByText("0.0%").waitFor();
  await page.fill("#key-name", "ann");
  await page.click("#key-create");
  await page.getByText("No key was created: A key of this name exists (status 400).").waitFor();
  await clean(page, "a form with an error");
  await page.click(`[id="rotate-${key.id}"]`);
  await page.click("#confirm-yes");
  const fresh = await page.inputValue("#key-secret");
  assert.notEqual(fresh, secret);
  for (const used of [secret, fresh]) {
    const answer = await fetch(`${served.data}/v1/models`, { headers: { authorization: `Bearer ${used}` } });
    assert.equal(answer.status, 200, "the old one works on for a while");
  }
  await page.click(`[id="revoke-${key.id}"]`);
  await page.click("#confirm button[value=no]");
  await page.click(`[id="revoke-${key.id}"]`);
  await page.click("#confirm-yes");
  await page.check("#all-keys");
  await page.getByRole("cell", { name: "revoked" }).waitFor();
  await clean(page, "a revoked key");
  await close();
  await served.stop();
});

check("the playground asks both sides, and what it asks is on the ledger under its tag", async () => {
  const { page, close } = await open("#/playground");
  const asked = [];
  page.on("request", (request) => asked.push(new URL(request.url()).pathname));
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
  await page.locator("#page .scroll").focus();
  await clean(page, "two answers and a decision");
  const found = await eventually("both are on the ledger", async () => {
    const { requests } = await stage.served.api("/api/requests?find=sluice%3Dplayground&in=tag");
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
  await clean(page, "a refused side");
  // Where the router chooses, its decision is the answer's own: nobody is asked to judge the same again.
  await page.selectOption("#class", "");
  await page.selectOption("#right", "side:auto");
  await eventually("the last ask has ended", () => page.locator("#ask").isEnabled());
  asked.length = 0;
  await page.click("#ask");
  await page.locator("#page .lead").getByText("was chosen").waitFor();
  assert.deepEqual(asked.filter((path) => path.startsWith("/api/playground")), ["/api/playground", "/api/playground"]);
  // A slow answer is stopped.
  await page.selectOption("#left", "model:slow");
  await eventually("the last ask has ended", () => page.locator("#ask").isEnabled());
  await page.click("#ask");
  await eventually("it has begun", async () => (await page.locator("#left-answer").innerText()).includes("word3"));
  await page.click("#stop");
  await page.locator("#left-failed").getByText("Stopped.").waitFor();
  await page.locator("dd a").first().click();
  await page.getByRole("heading", { name: "Evidence" }).waitFor();
  await close();
});

check("the other pages' controls do what they say", async () => {
  const { page, close } = await open("#/residency");
  for (const days of ["1", "30", "", "7"]) await page.selectOption("#days", days);
  for (const [entry, heading] of [["models", "Models"], ["budgets", "Budgets and keys"], ["residency", "Residency"],
    ["compare", "Compare"], ["playground", "Playground"], ["requests", "Requests"], ["overview", "Overview"]]) {
    await page.click(`nav a[data-page=${entry}]`);
    await page.getByRole("heading", { name: heading, exact: true, level: 1 }).waitFor();
    assert.equal(await page.title(), `${heading} · Sluice`);
  }
  await page.click("nav a[data-page=models]");
  await page.getByText("small").first().waitFor();
  await page.click("a.brand");
  await page.getByRole("heading", { name: "Overview", exact: true }).waitFor();
  await close();
});

check("a split says its verdict, too", async () => {
  const other = await gateway(SPLIT);
  const { page, close } = await open("#/compare", {}, other.admin);
  await page.getByRole("link", { name: "half" }).waitFor();
  await page.click("nav a[data-page=overview]");
  await page.getByText("Nothing happened in this time.").waitFor();
  await clean(page, "an overview of nothing");
  const ids = [];
  for (let n = 0; n < 6; n += 1) ids.push(await other.ask(HARD, { "x-sluice-session": `of-${n}` }));
  const told = await other.api("/api/experiments/half");
  const { arms, draw } = told;
  assert.equal(arms.left.requests + arms.right.requests, ids.length);
  assert.equal(arms.left.sessions + arms.right.sessions, ids.length, "each had a session of its own");
  const fell = `chi-squared ${draw.chi_squared.toFixed(2)}, p = ${draw.p_value.toFixed(3)}`;
  await page.click("nav a[data-page=compare]");
  await page.locator(".card").getByText(fell).waitFor();
  await page.locator(".card").getByText(`${arms.left.sessions} left, ${arms.right.sessions} right`, { exact: true }).first().waitFor();
  await clean(page, "a split among all experiments");
  await page.getByRole("link", { name: "half" }).click();
  await page.getByRole("heading", { name: "half" }).waitFor();
  assert.match(await page.locator(".lead").innerText(), /^not yet known/);
  await page.getByText("0 left, 0 right (labels)").waitFor();
  const table = (name) => page.getByRole("table", { name });
  const cells = (name, at) => table(name).locator("tbody tr").nth(at).locator("th, td").allInnerTexts();
  for (const [at, [arm, side]] of [["left", "local"], ["right", "hosted"]].entries()) {
    assert.deepEqual(await cells("What each arm does", at),
      [arm, side, "as decided", "the request's own", "the router's", "50.0%"]);
    const got = await cells("Sessions, requests, labels and money of each arm", at);
    const { sessions, requests, answered, served, hosted } = arms[arm];
    assert.deepEqual(got.slice(0, 6).map((text) => text.split(" ")[0]),
      [arm, ...[sessions, requests, answered, served, hosted].map(String)]);
    assert.deepEqual([served, hosted], [requests, side === "hosted" ? requests : 0]);
  }
  assert.match(await page.locator("#draw").innerText(), new RegExp(fell.replaceAll(/[.]/g, "[.]")));
  assert.equal(await page.locator("#verdicts .state").count(), 2, "as served, and whoever answered");
  await clean(page, "a split");
  // A request says which arm it is in, and leads back.
  await page.goto(`${other.admin}/#/requests/${ids[0]}`);
  await page.locator("dd a").click();
  await page.getByRole("heading", { name: "half" }).waitFor();
  await close();
  await other.stop();
});

check("older requests are a page away, and the newest again", async () => {
  const { page, close } = await open("#/requests");
  const rows = page.locator("#page tbody tr");
  // More than one page of them.
  for (let n = 0; n < 30; n += 1) await stage.served.ask(EASY, { "x-sluice-tags": "job=more" });
  await page.click("#older");
  await page.getByText("this list stands still").waitFor();
  const { requests, next } = await stage.served.api("/api/requests?limit=50");
  assert.ok(next, "there is more than a page");
  const last = await stage.served.api(`/api/requests?limit=50&before=${encodeURIComponent(next)}`);
  assert.equal(await page.evaluate(() => document.activeElement.tagName), "H1", "who reads is at the top");
  await eventually("the older ones", async () => await rows.count() > 0
    && (await rows.last().locator("a").getAttribute("id")) === `r-${last.requests.at(-1).id}`);
  await page.click("#newest");
  await eventually("the newest", async () => await page.locator(`[id="r-${requests[0].id}"]`).count() === 1);
  await close();
});
