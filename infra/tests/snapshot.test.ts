/**
 * The templates as they were when somebody last looked: a change shows in its review.
 * `npm run snapshot` takes new ones.
 */

import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { TOP, synthesized } from "./support";

const SNAPSHOTS = join(TOP, "infra", "tests", "snapshots");
const { app, network } = synthesized();

for (const [name, template] of Object.entries({ app, network })) {
  test(`the template of ${name} is the one that was looked at`, () => {
    const path = join(SNAPSHOTS, `${name}.json`);
    const text = `${JSON.stringify(template.toJSON(), null, 1)}\n`;
    if (process.env["UPDATE_SNAPSHOT"] === "1") {
      writeFileSync(path, text);
      return;
    }
    const seen: unknown = JSON.parse(readFileSync(path, "utf8"));
    const help = "npm run snapshot takes a new one, for a review";
    assert.deepEqual(JSON.parse(text), seen, `it differs from ${path}: ${help}`);
  });
}
