/** All tests in one process, so that the app is loaded and synthesized once. */

import { readdirSync } from "node:fs";
import { join } from "node:path";

const files = readdirSync(__dirname).filter((name) => name.endsWith(".test.js"));
for (const file of files) require(join(__dirname, file));
