// What the page has of others is what they published: each file below gateway/src/web/vendor is byte for byte that of the npm
// package, which `npm ci` has checked against the digest in package-lock.json.

import assert from "node:assert/strict";
import { readFile, readdir } from "node:fs/promises";
import { createRequire } from "node:module";
import path from "node:path";
import { test } from "node:test";
import { skipped } from "./harness.js";

const VENDOR = path.resolve(import.meta.dirname, "../../gateway/src/web/vendor");
// Our name of a file, and its place in the package.
const FILES = { "uPlot.iife.min.js": "dist/uPlot.iife.min.js", "uPlot.min.css": "dist/uPlot.min.css", LICENSE: "LICENSE" };

let root = null;
try {
  const require = createRequire(path.join(process.env.SLUICE_TEST_NODE ?? import.meta.dirname, "package.json"));
  root = path.dirname(path.dirname(require.resolve("uplot")));
} catch {
  // Said below.
}
const skip = root ? false
  : skipped("node", "npm could not be reached, so uplot is not there to be compared with: scripts/setup-tests");

test("what is vendored is what npm has, in the version that is locked and said", { skip }, async () => {
  const { version, license } = JSON.parse(await readFile(path.join(root, "package.json"), "utf8"));
  const locked = JSON.parse(await readFile(path.join(import.meta.dirname, "package-lock.json"), "utf8"));
  assert.equal(version, locked.packages["node_modules/uplot"].version);
  const said = await readFile(path.join(VENDOR, "README.md"), "utf8");
  assert.ok(said.includes(`| ${version} | ${license} `), `vendor/README.md does not say ${version}, ${license}`);
  for (const [ours, theirs] of Object.entries(FILES)) {
    const [here, there] = await Promise.all([path.join(VENDOR, ours), path.join(root, theirs)].map((file) => readFile(file)));
    assert.ok(here.equals(there), `${ours} is not that of uplot ${version}`);
  }
});

test("nothing is vendored that is not compared", async () => {
  assert.deepEqual((await readdir(VENDOR)).sort(), [...Object.keys(FILES), "README.md"].sort());
});
