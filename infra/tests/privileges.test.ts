/**
 * Least privilege, spelled out: what each role may do, all of it. A new right fails here until
 * somebody has written it down a second time and, one hopes, has thought about it.
 */

import { Template } from "aws-cdk-lib/assertions";
import { PolicyStatement, Role } from "aws-cdk-lib/aws-iam";
import assert from "node:assert/strict";
import { test } from "node:test";
import { posthaste } from "../lib/app";
import { parseConfig } from "../lib/config";
import { FULL, folder, placeholders, readable, type Resource, resources, synthesized } from "./support";

const { app, network } = synthesized();

interface Statement {
  readonly Effect: string;
  readonly Action: string | string[];
  readonly Resource: unknown;
  readonly Condition?: unknown;
}

const NAMES: readonly [RegExp, string][] = [
  [/<StorageEvents[0-9A-F]{8}\.Arn>/g, "Events"],
  [/<StorageTenants[0-9A-F]{8}\.Arn>/g, "TenantWebhookConfig"],
  [/<StorageIdentities[0-9A-F]{8}\.Arn>/g, "TenantIdentity"],
  [/<StorageQueue[0-9A-F]{8}\.Arn>/g, "queue"],
  [/<StorageDeadLetters[0-9A-F]{8}\.Arn>/g, "dlq"],
  [/arn:<AWS::Partition>:logs:<AWS::Region>:<AWS::AccountId>:log-group:/g, "logs "],
  [/arn:<AWS::Partition>:autoscaling:<AWS::Region>:<AWS::AccountId>:/g, ""],
  [/arn:<AWS::Partition>:s3:::/g, "s3 "],
];

function short(resource: unknown): string {
  return NAMES.reduce((text, [arn, name]) => text.replace(arn, name), readable(resource));
}

function list(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [value];
}

/** The statements of the role whose logical id begins so. */
function statements(role: string, template = app): Statement[] {
  const policies = Object.entries(resources(template, "AWS::IAM::Policy"));
  const own = policies.filter(([id]) => id.startsWith(`${role}DefaultPolicy`));
  assert.equal(own.length, 1, `policies of ${role}`);
  const document = own[0]?.[1].Properties["PolicyDocument"] as { Statement: Statement[] };
  return document.Statement;
}

/** `action on resource`, and `(if …)` where there is a condition. */
function rights(role: string, template = app): string[] {
  const each = statements(role, template).flatMap((statement) => {
    assert.equal(statement.Effect, "Allow");
    const condition = statement.Condition === undefined ? "" : " (if)";
    return list(statement.Resource).flatMap((resource) =>
      list(statement.Action).map((action) => `${String(action)} on ${short(resource)}${condition}`),
    );
  });
  return each.sort();
}

function logs(name: string): string[] {
  const streams = `logs /aws/lambda/acme-${name}:log-stream:*`;
  return [`logs:CreateLogStream on ${streams}`, `logs:PutLogEvents on ${streams}`];
}

test("the authorizer reads one table by key, and nothing else", () => {
  assert.deepEqual(rights("FunctionsAuthorizerRole"), [
    "dynamodb:GetItem on TenantIdentity (if)",
    ...logs("authorizer"),
  ]);
});

test("of an identity nobody sees more than whose it is", () => {
  const readers = ["FunctionsAuthorizerRole", "FunctionsIngestRole", "FunctionsRequeueRole"];
  for (const role of readers) {
    const read = statements(role).filter((one) => list(one.Action).includes("dynamodb:GetItem"));
    const identities = read.filter((one) => short(one.Resource) === "TenantIdentity");
    assert.equal(identities.length, 1, role);
    assert.deepEqual(identities[0]?.Condition, {
      "ForAllValues:StringEquals": {
        "dynamodb:Attributes": ["apiKey", "tenantId", "status", "plan"],
      },
      StringEqualsIfExists: { "dynamodb:Select": "SPECIFIC_ATTRIBUTES" },
    });
  }
});

test("ingest writes events, tenants and keys, sends to one queue, and receives from none", () => {
  assert.deepEqual(rights("FunctionsIngestRole"), [
    "dynamodb:BatchGetItem on Events",
    "dynamodb:BatchGetItem on TenantIdentity",
    "dynamodb:GetItem on Events",
    "dynamodb:GetItem on TenantIdentity (if)",
    "dynamodb:GetItem on TenantWebhookConfig",
    "dynamodb:PartiQLInsert on Events",
    "dynamodb:PartiQLUpdate on Events",
    "dynamodb:PutItem on Events",
    "dynamodb:PutItem on TenantIdentity",
    "dynamodb:PutItem on TenantWebhookConfig",
    "dynamodb:Query on Events",
    "dynamodb:Query on Events/index/standing",
    "dynamodb:Scan on Events/index/standing",
    "dynamodb:UpdateItem on Events",
    "dynamodb:UpdateItem on TenantIdentity",
    "dynamodb:UpdateItem on TenantWebhookConfig",
    ...logs("ingest"),
    "sqs:GetQueueUrl on queue",
    "sqs:SendMessage on queue",
  ]);
});

test("the receiver reads tenants, and writes one row: its switch", () => {
  assert.deepEqual(rights("FunctionsReceiverRole"), [
    "dynamodb:GetItem on TenantWebhookConfig",
    "dynamodb:UpdateItem on TenantWebhookConfig (if)",
    ...logs("receiver"),
  ]);
});

test("requeue writes rows, sends to the queue, and takes from the DLQ", () => {
  assert.deepEqual(rights("FunctionsRequeueRole"), [
    "dynamodb:BatchGetItem on Events",
    "dynamodb:GetItem on TenantIdentity (if)",
    "dynamodb:PartiQLUpdate on Events",
    "dynamodb:Query on Events/index/standing",
    "dynamodb:Scan on Events/index/standing",
    "dynamodb:UpdateItem on Events",
    ...logs("requeue"),
    "sqs:ChangeMessageVisibility on dlq",
    "sqs:DeleteMessage on dlq",
    "sqs:GetQueueUrl on dlq",
    "sqs:GetQueueUrl on queue",
    "sqs:ReceiveMessage on dlq",
    "sqs:SendMessage on queue",
  ]);
});

test("the past-due count sees keys of one index", () => {
  assert.deepEqual(rights("PastDueWatchRole"), [
    "dynamodb:Query on Events/index/work",
    ...logs("past-due"),
  ]);
});

test("a daemon takes from the queue, writes rows, and reads no key of an API", () => {
  const all = rights("FleetRole");
  const own = all.filter((right) => !right.startsWith("s3:") && !right.startsWith("cloudformation:"));
  assert.deepEqual(own, [
    "autoscaling:CompleteLifecycleAction on autoScalingGroup:*:autoScalingGroupName/acme-fleet",
    "dynamodb:BatchGetItem on Events",
    "dynamodb:DescribeTable on Events",
    "dynamodb:DescribeTable on TenantIdentity",
    "dynamodb:DescribeTable on TenantWebhookConfig",
    "dynamodb:GetItem on TenantWebhookConfig",
    "dynamodb:PartiQLUpdate on Events",
    "dynamodb:Query on Events/index/work",
    "sqs:ChangeMessageVisibility on queue",
    "sqs:DeleteMessage on queue",
    "sqs:GetQueueAttributes on dlq",
    "sqs:GetQueueAttributes on queue",
    "sqs:GetQueueUrl on dlq",
    "sqs:GetQueueUrl on queue",
    "sqs:ReceiveMessage on queue",
    "sqs:SendMessage on dlq",
  ]);
  // To say that a boot has worked.
  const [signal, ...others] = all.filter((right) => right.startsWith("cloudformation:"));
  assert.deepEqual([signal, others], ["cloudformation:SignalResource on <AWS::StackId>", []]);
  const [fetched, ...more] = all.filter((right) => right.startsWith("s3:"));
  assert.match(fetched ?? "", /^s3:GetObject on s3 .*assets.*\/[0-9a-f]{64}\.deb$/);
  assert.deepEqual(more, []);
});

test("the receiver writes no row but the switch", () => {
  const all = statements("FunctionsReceiverRole");
  const write = all.filter((one) => list(one.Action).includes("dynamodb:UpdateItem"));
  assert.equal(write.length, 1);
  assert.deepEqual(write[0]?.Condition, {
    "ForAllValues:StringEquals": { "dynamodb:LeadingKeys": ["__GLOBAL_CONFIG__"] },
  });
});

test("no role has more policies than these, and no action has a star", () => {
  const policies: Resource[] = Object.values(resources(app, "AWS::IAM::Policy"));
  assert.equal(policies.length, 6);
  const managed = Object.entries(resources(app, "AWS::IAM::Role")).flatMap(([id, role]) => {
    assert.equal(role.Properties["Policies"], undefined, id);
    return list(role.Properties["ManagedPolicyArns"] ?? []).map((arn) => `${id} ${readable(arn)}`);
  });
  assert.equal(managed.length, 1);
  assert.match(managed[0] ?? "", /^GatewayLogs.*AmazonAPIGatewayPushToCloudWatchLogs$/);
  const texts = [...policies, ...Object.values(resources(network, "AWS::IAM::Policy"))];
  for (const policy of texts) {
    const document = policy.Properties["PolicyDocument"] as { Statement: Statement[] };
    for (const statement of document.Statement) {
      for (const action of list(statement.Action)) assert.doesNotMatch(String(action), /\*/);
      assert.notEqual(statement.Resource, "*");
    }
  }
});

test("a function is called by its API, or by its schedule, and by nobody else", () => {
  const callers = Object.values(resources(app, "AWS::Lambda::Permission")).map((permission) => {
    const { Principal: who, SourceArn: from, FunctionName: what } = permission.Properties;
    assert.notEqual(from, undefined);
    const id = readable(what).replace(/[0-9A-F]{8}\.Arn>$/, "").replace("<Functions", "");
    return `${String(who).split(".")[0] ?? ""} calls ${id}`;
  });
  assert.deepEqual(callers.sort(), [
    "apigateway calls Authorizer",
    "apigateway calls Authorizer",
    "apigateway calls Ingest",
    "apigateway calls Receiver",
    "apigateway calls Requeue",
    "events calls <PastDueWatch",
  ]);
});

test("one right too many is seen, whoever gets it", () => {
  const { stack } = posthaste(parseConfig(FULL), placeholders(), { outdir: folder() });
  const roles = stack.node.findAll().filter((one) => one instanceof Role);
  const action = "dynamodb:DeleteItem";
  const resource = "arn:aws:dynamodb:eu-central-1:123456789012:table/other";
  for (const role of roles) {
    role.addToPolicy(new PolicyStatement({ actions: [action], resources: [resource] }));
  }
  const careless = Template.fromStack(stack);
  const names = ["Authorizer", "Ingest", "Receiver", "Requeue"].map((name) => `Functions${name}Role`);
  const all = [...names, "PastDueWatchRole", "FleetRole"];
  const seen = all.filter((name) => {
    const added = rights(name, careless).filter((right) => !rights(name).includes(right));
    return added.length === 1 && added[0] === `${action} on ${resource}`;
  });
  assert.deepEqual(seen, all);
  const granted = all.flatMap((name) => rights(name)).length;
  const control = `a right too many seen in ${seen.length} of ${all.length} roles`;
  console.log(`proof: 32 tried ${granted} held ${granted} control ${control}`);
});
