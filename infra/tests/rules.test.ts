/** cdk-nag's AwsSolutions: it finds nothing but what was acknowledged, each with a reason. */

import { CfnQueue } from "aws-cdk-lib/aws-sqs";
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { posthaste } from "../lib/app";
import { parseConfig } from "../lib/config";
import { FULL, folder, placeholders, synthesized } from "./support";

/** Names of rules that were broken, with a plugin's name before each. */
function broken(assembly: string): string[] {
  const path = join(assembly, "validation-report.json");
  assert(existsSync(path), "synthesis left no report");
  const report = JSON.parse(readFileSync(path, "utf8")) as {
    pluginReports: { pluginName?: string; violations: { ruleName: string }[] }[];
  };
  return report.pluginReports.flatMap((one) => one.violations.map(({ ruleName }) => ruleName));
}

test("AwsSolutions finds nothing", () => {
  assert.deepEqual(broken(synthesized().assembly), []);
});

test("it would find something", () => {
  const outdir = folder();
  const { app, stack } = posthaste(parseConfig(FULL), placeholders(), { outdir });
  new CfnQueue(stack, "Careless");
  assert.throws(() => app.synth(), /Validation failed/);
  assert.match(broken(outdir).join(" "), /SQS4/);
});
