/**
 * What `cdk` runs. Reads `.env` at the top of the checkout (or where POSTHASTE_ENV_FILE says) and the
 * environment, and the built parts in `dist` (or where POSTHASTE_DIST says). With `check` it only
 * says what the configuration comes to. Exit status 78 when it does not hold.
 */

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { findArtifacts } from "../lib/artifacts";
import { posthaste } from "../lib/app";
import { type Config, ConfigError, parseConfig, parseEnvFile } from "../lib/config";

const TOP = join(__dirname, "..", "..", "..");
/** As the daemon has it (sysexits: EX_CONFIG). */
const BAD_CONFIG = 78;

function configuration(): Config {
  const file = process.env["POSTHASTE_ENV_FILE"] || join(TOP, ".env");
  const values = existsSync(file) ? parseEnvFile(readFileSync(file, "utf8")) : {};
  return parseConfig({ ...values, ...process.env });
}

try {
  const config = configuration();
  if (process.argv[2] === "check") process.stdout.write(`${JSON.stringify(config, null, 1)}\n`);
  else posthaste(config, findArtifacts(process.env["POSTHASTE_DIST"] || join(TOP, "dist")));
} catch (error) {
  if (!(error instanceof ConfigError)) throw error;
  process.stderr.write(`${error.message}\n`);
  process.exitCode = BAD_CONFIG;
}
