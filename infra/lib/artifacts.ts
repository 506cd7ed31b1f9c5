/**
 * What was built before: a folder with a `bootstrap` for each function, and the Debian package.
 *
 * Nothing is built here. What is missing is named all at once, with the command that makes it.
 */

import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { ConfigError } from "./config";

/** The functions, by the names of their binaries. */
export const FUNCTIONS = ["authorizer", "ingest", "receiver", "requeue"] as const;
export type FunctionName = (typeof FUNCTIONS)[number];

/** Where the built parts are. */
export interface Artifacts {
  readonly functions: Readonly<Record<FunctionName, string>>;
  readonly package: string;
}

const PACKAGE = /^posthaste_.*_arm64\.deb$/;

/** Finds the built parts below a folder. */
export function findArtifacts(folder: string): Artifacts {
  const missing: string[] = [];
  const found = FUNCTIONS.map((name) => {
    const code = join(folder, "lambda", name);
    if (!existsSync(join(code, "bootstrap"))) missing.push(join(code, "bootstrap"));
    return [name, code] as const;
  });
  const packages = existsSync(folder) ? readdirSync(folder).filter((name) => PACKAGE.test(name)) : [];
  const [first, ...others] = packages;
  if (first === undefined) missing.push(join(folder, "posthaste_<version>_arm64.deb"));
  const problems = missing.map((path) => `${path} is missing: scripts/deploy builds it`);
  if (others.length > 0) {
    problems.push(`${folder} has several packages (${packages.join(", ")}): leave one there`);
  }
  if (problems.length > 0 || first === undefined) throw new ConfigError(problems);
  const functions = Object.fromEntries(found) as Record<FunctionName, string>;
  return { functions, package: join(folder, first) };
}
