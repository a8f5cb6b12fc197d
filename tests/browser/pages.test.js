// The page on the admin listener in a real browser: every page, every control, and what a screen reader needs.
//
// The tests are in the modules below and run in their order, on one gateway and in one browser (stage.js). The last one looks
// back at all of them.

import assert from "node:assert/strict";
import { ALL } from "./controls.js";
import "./looks.js";
import { check, driven } from "./stage.js";
import "./use.js";
import "./ways.js";

check("each control in the table was driven", () => {
  assert.deepEqual(ALL.filter((name) => !driven.has(name)), []);
});
