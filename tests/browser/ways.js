// Other ways to the page: by keyboard alone, through a proxy that signs people in, over a line that breaks.

import assert from "node:assert/strict";
import { PATIENCE, PERSON, TOKEN, eventually, gateway, proxy } from "./harness.js";
import { OPERABLE } from "./controls.js";
import { EASY, check, clean, go, open, pages, stage } from "./stage.js";

// What has the focus.
const focused = (page) => page.evaluate(() => {
  const node = document.activeElement;
  if (!node || node === document.body) return null;
  const style = getComputedStyle(node);
  return { name: node.id || node.outerHTML.slice(0, 120), seen: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0 };
});

check("with the tab key alone everything on every page is reached once, in order, and seen", async () => {
  const { page, close } = await open("#/overview");
  for (const [name, hash] of pages()) {
    await go(page, hash);
    // Updates would put new elements under the fingers.
    if (await page.locator("#pause").isVisible() && await page.locator("#pause").innerText() === "Pause updates") await page.click("#pause");
    // A group of radio buttons is one stop of the tab key; its arrows go on from there.
    const wanted = await page.evaluate((operable) => [...document.querySelectorAll(operable)].filter((node) =>
      node.checkVisibility() && !node.disabled && node.tabIndex >= 0 && (node.type !== "radio" || node.checked)).length, OPERABLE);
    await page.evaluate(() => {
      document.activeElement?.blur();
      getSelection().removeAllRanges();
      document.body.tabIndex = -1;
      document.body.focus();
      document.body.removeAttribute("tabindex");
    });
    const reached = [];
    for (;;) {
      await page.keyboard.press("Tab");
      const now = await focused(page);
      // Behind the last one is the browser's own frame, or the first one again.
      if (now === null || now.name === reached[0]?.name) break;
      reached.push(now);
      assert.ok(reached.length <= wanted, `${name}: ${reached.length} stops for ${wanted} controls, the last is ${now.name}`);
    }
    assert.equal(reached.length, wanted, `${name}: ${reached.map((stop) => stop.name).join("\n")}`);
    assert.deepEqual(reached.filter((stop) => !stop.seen).map((stop) => stop.name), [], `${name}: focus that is not seen`);
  }
  await close();
});

check("a key is made and revoked without a mouse, and a dialog gives the focus back", async () => {
  const served = await gateway("");
  const { page, close } = await open("#/overview", {}, served.admin);
  const until = async (selector) => {
    for (let stops = 0; stops < 80; stops += 1) {
      if (await page.evaluate((selector) => document.activeElement?.matches(selector), selector)) return;
      await page.keyboard.press("Tab");
    }
    assert.fail(`${selector} is not reached`);
  };
  await until("#skip");
  await page.keyboard.press("Enter");
  assert.equal(await page.evaluate(() => document.activeElement.id), "main");
  await page.keyboard.press("Shift+Tab");
  await go(page, "#/overview");
  await page.focus("a.brand");
  await until("nav a[data-page=budgets]");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Budgets and keys" }).waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.tagName), "H1", "a new page is read from its heading");
  await until("#key-name");
  await page.keyboard.type("typed");
  await page.keyboard.press("Enter");
  await page.locator("#key-secret").waitFor();
  await until("#key-stored");
  await page.keyboard.press("Space");
  await until("button[aria-label='Revoke key typed']");
  await page.keyboard.press("Enter");
  await page.locator("#confirm[open]").waitFor();
  await page.keyboard.press("Escape");
  await page.locator("#confirm[open]").waitFor({ state: "detached" });
  assert.equal(await page.evaluate(() => document.activeElement.getAttribute("aria-label")), "Revoke key typed");
  await page.keyboard.press("Enter");
  await until("#confirm-yes");
  await page.keyboard.press("Enter");
  await eventually("it is revoked", async () =>
    (await served.api("/api/keys")).keys.find((key) => key.name === "typed").revoked);
  await close();
  await served.stop();
});

check("who is signed in by a proxy is greeted, and votes under that name without being asked for one", async () => {
  const way = await proxy(stage.served.admin);
  const { page, close } = await open("#/vote/nightly", { token: null }, way.admin);
  await page.getByText(`You vote as ${PERSON}.`).waitFor();
  await page.getByText(`Signed in as ${PERSON}`).waitFor();
  assert.ok(!await page.locator("#voter").isVisible());
  await clean(page, "a vote of somebody with a name");
  const voted = page.waitForRequest((request) => request.method() === "POST");
  await page.click("#vote-tie");
  assert.ok(!("voter" in (await voted).postDataJSON()));
  await page.getByText("you voted 1 ").waitFor();
  await close();
  await way.stop();
});

check("a request that ends is on the list without anybody asking again, also after the line was cut", async () => {
  const way = await proxy(stage.served.admin);
  const context = await stage.browser.newContext();
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  // Its clock goes as far as it is told, and no page polls as often as that: without the line nothing would be asked again.
  await page.clock.install();
  const lined = () => page.waitForResponse((answer) => answer.url().endsWith("/api/events"));
  let events = lined();
  await page.goto(`${way.admin}/#/requests`);
  await events;
  await page.clock.pauseAt(new Date(Date.now() + 3_600_000));
  await page.locator("#page tbody tr").first().waitFor();
  const listed = async (milliseconds, what) => {
    const polled = page.waitForResponse((answer) => answer.url().includes("/api/requests?"));
    const id = await stage.served.ask(EASY);
    const asked = polled.then(() => true);
    await forward(milliseconds, asked, what);
    await page.locator(`[id="r-${id}"]`).waitFor();
  };
  // Lets the page's clock go until something has happened.
  const forward = async (most, happened, what) => {
    let gone = 0;
    while (!await Promise.race([happened, new Promise((done) => { setTimeout(done, 250, false); })])) {
      assert.ok((gone += 50) <= most, `not within ${most} ms of the page: ${what}`);
      await page.clock.runFor(50);
    }
  };
  await listed(3_000, "the list is asked for");
  events = lined();
  way.cut();
  await forward(3_000, events.then(() => true), "the line is there again");
  await listed(3_000, "the list is asked for after the line was cut");
  await context.close();
  await way.stop();
});

check("when the gateway is gone the page says so, keeps what it has, and goes on when it is back", async () => {
  const way = await proxy(stage.served.admin);
  const { page, close } = await open("#/requests", { token: TOKEN }, way.admin);
  const rows = page.locator("#page tbody tr");
  const before = await rows.count();
  way.down(true);
  await page.getByText("cannot be reached. What is shown below is older.").waitFor();
  assert.equal(await rows.count(), before);
  await clean(page, "without a gateway");
  await page.getByRole("button", { name: "Try again" }).click();
  await page.getByText("cannot be reached").waitFor();
  way.down(false);
  await page.getByRole("button", { name: "Try again" }).click();
  await page.locator("#problem p").waitFor({ state: "detached" });
  await close();
  await way.stop();
});
