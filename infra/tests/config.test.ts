import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { findArtifacts } from "../lib/artifacts";
import { ConfigError, parseConfig, parseEnvFile } from "../lib/config";
import { FULL, folder, placeholders } from "./support";

function problems(environment: Record<string, string>): readonly string[] {
  try {
    parseConfig(environment);
  } catch (error) {
    assert(error instanceof ConfigError);
    return error.problems;
  }
  return [];
}

/** What a problem is about: its first word. */
function names(environment: Record<string, string>): string[] {
  return problems(environment).map((line) => line.split(" ")[0] ?? "");
}

test("everything that is missing is named at once", () => {
  assert.deepEqual(names({ HOSTED_ZONE_ID: "Z1" }), ["PREFIX", "HOSTED_ZONE_URL"]);
  assert.deepEqual(names({ HOSTED_ZONE_URL: "example.com" }), ["PREFIX", "HOSTED_ZONE_ID"]);
  assert.deepEqual(names({}), ["PREFIX"]);
});

test("everything that is wrong is named at once", () => {
  const wrong = {
    PREFIX: "1st!",
    HOSTED_ZONE_ID: "example.com",
    HOSTED_ZONE_URL: "https://example.com",
    ADMIN_KEY_SHA256: "phk_",
    ALARM_EMAIL: "ops",
    INSTANCE_TYPE: "c7i.large",
    INSTANCES: "0",
  };
  assert.deepEqual(names(wrong).sort(), Object.keys(wrong).sort());
  assert.match(problems(wrong).join("\n"), /HOSTED_ZONE_URL is "https:\/\/example.com".*without https/);
});

test("an empty value is a missing one", () => {
  assert.deepEqual(names({ PREFIX: " ", HOSTED_ZONE_ID: "", HOSTED_ZONE_URL: "" }), ["PREFIX"]);
});

test("without a zone there is none, and the rest has its defaults", () => {
  const config = parseConfig({ PREFIX: "acme" });
  assert.deepEqual(config, { prefix: "acme", instanceType: "c7g.large", instances: 2 });
});

test("what is set is taken", () => {
  const config = parseConfig({ ...FULL, HOSTED_ZONE_URL: "Example.COM.", INSTANCES: "3" });
  assert.deepEqual(config.zone, { id: "Z0123456789", name: "example.com" });
  assert.equal(config.instances, 3);
  assert.equal(config.alarmEmail, "ops@example.com");
});

test("processors that the daemon is not built for are refused", () => {
  for (const type of ["c6g.large", "c7i.large", "t4g.small", "c7g", ""]) {
    const refused = type !== "" && names({ PREFIX: "a", INSTANCE_TYPE: type }).length > 0;
    assert.equal(refused, type !== "", type);
  }
  for (const type of ["c7g.large", "c8g.xlarge", "m7gd.2xlarge", "c7gn.16xlarge"]) {
    assert.deepEqual(names({ PREFIX: "a", INSTANCE_TYPE: type }), [], type);
  }
});

test("a file is read as shells read it", () => {
  const text = [
    "# a comment",
    "PREFIX=acme # the test account",
    "export HOSTED_ZONE_ID = 'Z1'",
    'HOSTED_ZONE_URL="example.com"',
    "EMPTY=",
    "no assignment",
    "ALARM_EMAIL=ops#1@example.com",
  ].join("\r\n");
  assert.deepEqual(parseEnvFile(text), {
    PREFIX: "acme",
    HOSTED_ZONE_ID: "Z1",
    HOSTED_ZONE_URL: "example.com",
    EMPTY: "",
    ALARM_EMAIL: "ops#1@example.com",
  });
});

test("parts that are not built are named at once", () => {
  const dist = folder();
  mkdirSync(join(dist, "lambda", "ingest"), { recursive: true });
  writeFileSync(join(dist, "lambda", "ingest", "bootstrap"), "");
  assert.throws(
    () => findArtifacts(dist),
    (error) => {
      assert(error instanceof ConfigError);
      const named = error.problems.map((line) => line.slice(dist.length + 1).split(" ")[0]);
      const bootstraps = ["authorizer", "receiver", "requeue"].map((name) => `lambda/${name}/bootstrap`);
      assert.deepEqual(named, [...bootstraps, "posthaste_<version>_arm64.deb"]);
      return true;
    },
  );
  assert.match(placeholders().package, /_arm64\.deb$/);
});

test("two packages are one too many", () => {
  const { package: path } = placeholders();
  const dist = join(path, "..");
  writeFileSync(join(dist, "posthaste_0.0.1_arm64.deb"), "");
  assert.throws(() => findArtifacts(dist), /has several packages/);
});
