/** What both stacks say of themselves: tags, outputs, and what the network is made of. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { type Resource, resources, synthesized } from "./support";

const { app, network } = synthesized();

interface Tag {
  readonly Key: string;
  readonly Value: string;
}

function tags(one: Resource): Record<string, string> {
  const list = (one.Properties["Tags"] ?? []) as Tag[];
  return Object.fromEntries(list.map(({ Key: key, Value: value }) => [key, value]));
}

test("what costs money says whose it is", () => {
  const types = ["DynamoDB::Table", "SQS::Queue", "Lambda::Function", "Logs::LogGroup"];
  const found = [
    ...types.flatMap((type) => Object.entries(resources(app, `AWS::${type}`))),
    ...Object.entries(resources(app, "AWS::AutoScaling::AutoScalingGroup")),
    ...Object.entries(resources(network, "AWS::EC2::VPC")),
  ];
  assert(found.length > 15);
  for (const [id, one] of found) {
    assert.equal(tags(one)["project"], "posthaste", id);
    assert.equal(tags(one)["posthaste:prefix"], "acme", id);
  }
});

test("instances and their volumes are tagged as they start", () => {
  const [group] = Object.values(resources(app, "AWS::AutoScaling::AutoScalingGroup"));
  const list = group?.Properties["Tags"] as (Tag & { PropagateAtLaunch: boolean })[];
  for (const tag of list) assert.equal(tag.PropagateAtLaunch, true, tag.Key);
});

test("a deployment ends with what one needs next", () => {
  assert.deepEqual(Object.keys(app.findOutputs("*")).sort(), [
    "DashboardUrl",
    "DeadLetterQueueUrl",
    "EventsTable",
    "FleetGroup",
    "HooksUrl",
    "IdentitiesTable",
    "NoticesTopic",
    "QueueUrl",
    "ReceiverUrl",
    "RequeueFunction",
    "TenantsTable",
  ]);
});

test("the network has two zones, no NAT, and tells of what it refuses", () => {
  assert.equal(Object.keys(resources(network, "AWS::EC2::Subnet")).length, 2);
  assert.deepEqual(resources(network, "AWS::EC2::NatGateway"), {});
  const [log] = Object.values(resources(network, "AWS::EC2::FlowLog"));
  assert.equal(log?.Properties["TrafficType"], "REJECT");
  const endpoints = Object.values(resources(network, "AWS::EC2::VPCEndpoint"));
  for (const { Properties: one } of endpoints) assert.equal(one["VpcEndpointType"], "Gateway");
  assert.equal(endpoints.length, 2);
});
