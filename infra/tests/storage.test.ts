/**
 * The tables and queues are those of the code: names, keys, indexes and times are read from
 * `crates/aws`, `crates/ports` and `crates/protocol` and held against the template.
 */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { FULL, type Resource, TOP, resources, synthesized } from "./support";

const { app } = synthesized();

function source(path: string): string {
  return readFileSync(join(TOP, "crates", path), "utf8");
}

/** What the pattern finds in the code; a test that no longer finds it must be looked at. */
function found(text: string, pattern: RegExp): string {
  const value = pattern.exec(text)?.[1];
  assert(value !== undefined, `${String(pattern)} is not in the code any more`);
  return value;
}

const item = source("aws/src/item.rs");
const setup = source("aws/src/setup.rs");
const settings = source("aws/src/settings.rs");

/** A constant of `item.rs`'s module `name`. */
function attribute(name: string): string {
  return found(item, new RegExp(`const ${name}: &str = "([^"]+)"`));
}

/** A name of `settings.rs`, with the prefix. */
function named(field: string): string {
  const suffix = found(settings, new RegExp(`${field}: format!\\("\\{prefix\\}([^"]+)"\\)`));
  return `${FULL.PREFIX}${suffix}`;
}

interface Table {
  readonly TableName: string;
  readonly KeySchema: { AttributeName: string; KeyType: string }[];
  readonly AttributeDefinitions: { AttributeName: string; AttributeType: string }[];
  readonly GlobalSecondaryIndexes?: {
    IndexName: string;
    KeySchema: Table["KeySchema"];
    Projection: unknown;
  }[];
  readonly TimeToLiveSpecification?: unknown;
}

const tables = Object.values(resources(app, "AWS::DynamoDB::Table"));
const queues = Object.values(resources(app, "AWS::SQS::Queue"));

function table(name: string): Table {
  const properties = tables.map((one) => one.Properties as unknown as Table);
  const only = properties.find((one) => one.TableName === name);
  assert(only !== undefined, `no table ${name}`);
  return only;
}

function queue(name: string): Record<string, unknown> {
  const only = queues.find((one) => one.Properties["QueueName"] === name);
  assert(only !== undefined, `no queue ${name}`);
  return only.Properties;
}

/** `hash` or `hash/range`. */
function keys(schema: Table["KeySchema"]): string {
  assert.equal(schema[0]?.KeyType, "HASH");
  return schema.map((key) => key.AttributeName).join("/");
}

test("there are the contract's three tables and two queues, named as the code names them", () => {
  const tableNames = ["events", "tenants", "identities"].map(named).sort();
  assert.deepEqual(tables.map((one) => one.Properties["TableName"]).sort(), tableNames);
  assert.deepEqual(tableNames, ["acme-Events", "acme-TenantIdentity", "acme-TenantWebhookConfig"]);
  const queueNames = ["queue", "dead_letter_queue"].map(named).sort();
  assert.deepEqual(queues.map((one) => one.Properties["QueueName"]).sort(), queueNames);
});

test("keys and indexes are those that the code makes for its tests", () => {
  const events = table(named("events"));
  assert.equal(keys(events.KeySchema), `${attribute("TENANT")}/${attribute("EVENT")}`);
  // In setup.rs: (name::WORK_INDEX, name::PARTITION, name::DUE), one line an index.
  const made = [...setup.matchAll(/\(name::([A-Z_]+), name::([A-Z_]+), name::([A-Z_]+)\)/g)];
  assert(made.length > 0, "setup.rs lists its indexes in another form now");
  const wanted = made.map(([, index = "", hash = "", range = ""]) => {
    return `${attribute(index)}: ${attribute(hash)}/${attribute(range)}`;
  });
  const indexes = events.GlobalSecondaryIndexes ?? [];
  const are = indexes.map((index) => `${index.IndexName}: ${keys(index.KeySchema)}`);
  assert.deepEqual(are.sort(), wanted.sort());
  for (const index of indexes) assert.deepEqual(index.Projection, { ProjectionType: "KEYS_ONLY" });
  assert.match(setup, /ProjectionType::KeysOnly/);
});

test("attributes have the types that the code makes them with", () => {
  const names = (kind: string): string[] => {
    const list = found(setup, new RegExp(`${kind}: vec!\\[((?:name::[A-Z_]+(?:, )?)+)\\]`));
    return list.split(", ").map((name) => attribute(name.replace("name::", "")));
  };
  const wanted = [
    ...names("texts").map((name) => `${name}: S`),
    ...names("numbers").map((name) => `${name}: N`),
  ];
  const are = table(named("events")).AttributeDefinitions.map((one) => {
    return `${one.AttributeName}: ${one.AttributeType}`;
  });
  assert.deepEqual(are.sort(), wanted.sort());
});

test("the tables of tenants and keys have one key and no index", () => {
  const identity = found(source("aws/src/tenants/identity.rs"), /const KEY: &str = "([^"]+)"/);
  for (const [name, key] of [
    [named("tenants"), attribute("TENANT")],
    [named("identities"), identity],
  ] as const) {
    assert.equal(keys(table(name).KeySchema), key);
    assert.deepEqual(table(name).AttributeDefinitions, [
      { AttributeName: key, AttributeType: "S" },
    ]);
    assert.equal(table(name).GlobalSecondaryIndexes, undefined);
    assert.equal(table(name).TimeToLiveSpecification, undefined);
  }
});

test("rows expire by the attribute that the code writes", () => {
  assert.deepEqual(table(named("events")).TimeToLiveSpecification, {
    AttributeName: attribute("TTL"),
    Enabled: true,
  });
});

test("every table is on demand, encrypted, backed up, and stays", () => {
  for (const one of tables) {
    assert.equal(one.Properties["BillingMode"], "PAY_PER_REQUEST");
    assert.deepEqual(one.Properties["SSESpecification"], { SSEEnabled: true });
    assert.deepEqual(one.Properties["PointInTimeRecoverySpecification"], {
      PointInTimeRecoveryEnabled: true,
    });
    assert.equal(one.Properties["DeletionProtectionEnabled"], true);
    assert.equal(one.DeletionPolicy, "Retain");
  }
});

test("messages are hidden, kept and encrypted as the protocol wants it, and stay", () => {
  const visibility = Number(found(setup, /VISIBILITY_S: u64 = (\d+)/));
  for (const one of queues) {
    assert.equal(one.Properties["VisibilityTimeout"], visibility);
    assert.equal(one.Properties["SqsManagedSseEnabled"], true);
    assert.equal(one.DeletionPolicy, "RetainExceptOnCreate");
    assert.equal(one.UpdateReplacePolicy, "Retain");
  }
  const protocol = found(source("protocol/src/limits.rs"), /VISIBILITY_MS: u64 = ([\d_]+)/);
  assert.equal(visibility * 1000, Number(protocol.replaceAll("_", "")));
  const days = Number(found(setup, /in seconds: (\d+) days/));
  for (const name of ["acme-events", "acme-events-dlq"]) {
    assert.equal(queue(name)["MessageRetentionPeriod"], days * 24 * 60 * 60);
  }
});

test("SQS moves no message by itself", () => {
  for (const one of queues) assert.equal(one.Properties["RedrivePolicy"], undefined);
});

test("a queue takes no request without TLS", () => {
  const policies: Resource[] = Object.values(resources(app, "AWS::SQS::QueuePolicy"));
  assert.equal(policies.length, queues.length);
  for (const policy of policies) {
    const text = JSON.stringify(policy.Properties["PolicyDocument"]);
    assert.match(text, /"Bool":\{"aws:SecureTransport":"false"\}/);
    assert.match(text, /"Effect":"Deny"/);
  }
});

test("the past-due count goes through all partitions of the work index", () => {
  const partitions = found(source("ports/src/rows.rs"), /WORK_PARTITIONS: u8 = (\d+)/);
  const watch = readFileSync(join(TOP, "infra", "watch", "index.py"), "utf8");
  assert.equal(found(watch, /^PARTITIONS = (\d+)$/m), partitions);
  assert.match(watch, new RegExp(`IndexName="${attribute("WORK_INDEX")}"`));
  const condition = `${attribute("PARTITION")} = :wk AND ${attribute("DUE")} < :due`;
  assert(watch.includes(condition), condition);
});
