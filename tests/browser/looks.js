// Every page in every look: what a screen reader needs, nothing beside the screen, and nothing to operate that no test knows.

import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import path from "node:path";
import { eventually } from "./harness.js";
import { check, clean, go, open, pages } from "./stage.js";

// Where pictures for the README go, when somebody wants them.
const PICTURES = process.env.SLUICE_TEST_PICTURES;

for (const [look, options] of [
  ["light", { colorScheme: "light" }],
  ["dark", { colorScheme: "dark" }],
  ["light on a phone", { colorScheme: "light", viewport: { width: 375, height: 740 } }],
  ["dark on a phone", { colorScheme: "dark", viewport: { width: 375, height: 740 } }],
  ["with forced colours", { forcedColors: "active" }],
]) {
  check(`every page is usable, without any accessibility finding: ${look}`, async () => {
    const { page, close } = await open("#/overview", options);
    for (const [name, hash] of pages()) {
      await go(page, hash);
      assert.equal(await page.locator("#problem").innerText(), "", name);
      await clean(page, `${name}, ${look}`);
      if (PICTURES) {
        await mkdir(PICTURES, { recursive: true });
        await page.screenshot({ path: path.join(PICTURES, `${name}-${look.replaceAll(" ", "-")}.png`) });
      }
    }
    await close();
  });
}

check("charts follow the reader's scheme and the width of the window, and say in words what they show", async () => {
  const { page, close } = await open("#/overview", { colorScheme: "light" });
  const chart = page.locator(".chart canvas").first();
  const look = () => chart.evaluate((canvas) => canvas.toDataURL());
  await chart.waitFor();
  const light = await look();
  await page.emulateMedia({ colorScheme: "dark" });
  await eventually("other colours", async () => await look() !== light);
  await page.setViewportSize({ width: 500, height: 900 });
  await page.waitForFunction(() => [...document.querySelectorAll(".chart canvas")].every((canvas) =>
    canvas.getBoundingClientRect().right <= innerWidth));
  const said = await page.getByRole("img", { name: /^Spent and saved/ }).getAttribute("aria-label");
  assert.match(said, /^Spent and saved: \$[\d.]+ spent, \$[\d.]+ at the baseline, \$[\d.]+ saved\.$/);
  // What is under the pointer is said beside the names: the last piece is the one with the requests of this test.
  await page.setViewportSize({ width: 1280, height: 900 });
  const box = await page.locator(".u-over").first().boundingBox();
  await page.mouse.move(box.x + box.width - 4, box.y + 20);
  const values = page.locator(".plot").first().locator(".legend");
  await values.getByText(/UTC/).waitFor();
  assert.match(await values.innerText(), /\$[\d.]+, \$[\d.]+ saved/);
  await close();
});
