/** cdk-nag's AwsSolutions: it finds nothing but what was acknowledged, each with a reason. */

import { type App, Validations } from "aws-cdk-lib";
import { CfnQueue } from "aws-cdk-lib/aws-sqs";
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { posthaste } from "../lib/app";
import { parseConfig } from "../lib/config";
import { FULL, folder, placeholders, synthesized } from "./support";

interface Finding {
  readonly rule: string;
  readonly path: string;
}

/** What the rules found: each rule, with the path of what broke it. */
function findings(assembly: string): Finding[] {
  const path = join(assembly, "validation-report.json");
  assert(existsSync(path), "synthesis left no report");
  const report = JSON.parse(readFileSync(path, "utf8")) as {
    pluginReports: {
      violations: { ruleName: string; violatingConstructs: { constructPath: string }[] }[];
    }[];
  };
  const violations = report.pluginReports.flatMap((one) => one.violations);
  return violations.flatMap(({ ruleName: rule, violatingConstructs: who }) =>
    who.map(({ constructPath }) => ({ rule, path: constructPath })),
  );
}

/** What was acknowledged of AwsSolutions: rule, the path below which it is, and the reason. */
function acknowledged(app: App): (Finding & { reason: string })[] {
  const entries = app.node.findAll().flatMap(({ node }) => {
    const key = Validations.ACKNOWLEDGED_RULES_METADATA_KEY;
    const own = node.metadata.filter(({ type }) => type === key);
    return own.flatMap(({ data }) =>
      Object.entries(data as Record<string, string>).map(([id, reason]) => ({
        rule: id.replace(/^Annotation::/, ""),
        path: node.path,
        reason,
      })),
    );
  });
  return entries.filter(({ rule }) => rule.startsWith("AwsSolutions-"));
}

/** The app of all settings, and what the rules find of it when nothing is acknowledged. */
function bare(): Finding[] {
  const acknowledge = Validations.prototype.acknowledge;
  Validations.prototype.acknowledge = () => undefined;
  try {
    const outdir = folder();
    const { app } = posthaste(parseConfig(FULL), placeholders(), { outdir });
    assert.throws(() => app.synth(), /Validation failed/);
    return findings(outdir);
  } finally {
    Validations.prototype.acknowledge = acknowledge;
  }
}

test("AwsSolutions finds nothing", () => {
  assert.deepEqual(findings(synthesized().assembly), []);
});

test("it would find something", () => {
  const outdir = folder();
  const { app, stack } = posthaste(parseConfig(FULL), placeholders(), { outdir });
  new CfnQueue(stack, "Careless");
  assert.throws(() => app.synth(), /Validation failed/);
  assert.match(findings(outdir).map(({ rule }) => rule).join(" "), /SQS4/);
});

test("what is acknowledged has a reason, and would be found without it", () => {
  const { app } = posthaste(parseConfig(FULL), placeholders(), { outdir: folder() });
  const given = acknowledged(app);
  const found = bare();
  for (const { rule, path, reason } of given) {
    assert(reason.split(" ").length >= 5, `${path}: ${rule}: no reason: ${reason}`);
    const hidden = found.some((one) => one.rule === rule && one.path.startsWith(`${path}/`));
    assert(hidden, `${path}: ${rule} is acknowledged, and nothing breaks it`);
  }
  for (const { rule, path } of found) {
    const why = given.some((one) => one.rule === rule && path.startsWith(`${one.path}/`));
    assert(why, `${path}: ${rule} is hidden by nobody's acknowledgment`);
  }
  const { app: ours, network } = synthesized();
  const count = [ours, network].flatMap((one) => Object.keys(one.toJSON()["Resources"] as object));
  const control = `${found.length} findings of ${new Set(found.map(({ rule }) => rule)).size} rules`;
  const tried = `tried ${count.length} held ${count.length}`;
  console.log(`proof: 32 ${tried} control ${control} without the ${given.length} acknowledgments`);
});
