/** The app as tests see it: synthesized once, with parts that are not built. */

import { Template } from "aws-cdk-lib/assertions";
import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { posthaste } from "../lib/app";
import { type Artifacts, FUNCTIONS, findArtifacts } from "../lib/artifacts";
import { type Config, parseConfig } from "../lib/config";

/** The top of the checkout, from `infra/build/tests`. */
export const TOP = join(__dirname, "..", "..", "..");

/** With everything that can be set. */
export const FULL = {
  PREFIX: "acme",
  HOSTED_ZONE_ID: "Z0123456789",
  HOSTED_ZONE_URL: "example.com",
  ADMIN_KEY_SHA256: "ad".repeat(32),
  ALARM_EMAIL: "ops@example.com",
};

export interface Resource {
  readonly Type: string;
  readonly Properties: Record<string, unknown>;
  readonly DeletionPolicy?: string;
  readonly UpdateReplacePolicy?: string;
  readonly UpdatePolicy?: unknown;
}

export interface Synthesized {
  readonly network: Template;
  readonly app: Template;
  /** The folder of the cloud assembly. */
  readonly assembly: string;
}

/** A folder that the system forgets. */
export function folder(): string {
  return mkdtempSync(join(tmpdir(), "posthaste-infra-"));
}

/** Built parts with the same content each time, so that the names of assets are the same too. */
export function placeholders(): Artifacts {
  const dist = folder();
  for (const name of FUNCTIONS) {
    mkdirSync(join(dist, "lambda", name), { recursive: true });
    writeFileSync(join(dist, "lambda", name, "bootstrap"), `stands for ${name}\n`);
  }
  writeFileSync(join(dist, "posthaste_0.0.0_arm64.deb"), "stands for the package\n");
  return findArtifacts(dist);
}

/** Synthesizes a configuration; warnings and findings are an error, as they are for `cdk`. */
export function synthesize(config: Config): Synthesized {
  const outdir = folder();
  const { app, network, stack } = posthaste(config, placeholders(), {
    outdir,
    analyticsReporting: false,
  });
  const found = { network: Template.fromStack(network), app: Template.fromStack(stack) };
  app.synth();
  return { ...found, assembly: outdir };
}

let full: Synthesized | undefined;

/** The app with everything that can be set. */
export function synthesized(): Synthesized {
  full ??= synthesize(parseConfig(FULL));
  return full;
}

/** Resources of one type, by logical id. */
export function resources(template: Template, type: string): Record<string, Resource> {
  return template.findResources(type) as Record<string, Resource>;
}

/** The only resource of a type whose logical id begins so. */
export function resource(template: Template, type: string, id: string): Resource {
  const found = Object.entries(resources(template, type)).filter(([key]) => key.startsWith(id));
  const [only] = found;
  if (only === undefined || found.length > 1) {
    throw new Error(`${found.length} resources of ${type} begin with ${id}`);
  }
  return only[1];
}

/** An ARN or the like as one readable text: `<Id.Arn>` for what another resource says. */
export function readable(value: unknown): string {
  if (typeof value === "string") return value;
  const [name, argument] = Object.entries(value as Record<string, unknown>)[0] ?? [];
  switch (name) {
    case "Ref":
      return `<${String(argument)}>`;
    case "Fn::GetAtt":
      return `<${(argument as string[]).join(".")}>`;
    case "Fn::Join": {
      const [separator, parts] = argument as [string, unknown[]];
      return parts.map(readable).join(separator);
    }
    case "Fn::Sub":
      return String(argument).replace(/\$\{([^}]+)\}/g, "<$1>");
    default:
      return `<${JSON.stringify(value)}>`;
  }
}
