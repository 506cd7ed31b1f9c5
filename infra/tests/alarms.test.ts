import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { TOP, readable, resource, resources, synthesized } from "./support";

const { app } = synthesized();
const alarms = Object.values(resources(app, "AWS::CloudWatch::Alarm")).map((one) => one.Properties);

/** `metric compares threshold for n of m`, and what silence means. */
function described(alarm: Record<string, unknown>): string {
  const compare = String(alarm["ComparisonOperator"]).startsWith("LessThan") ? "<" : ">=";
  const periods = `${String(alarm["DatapointsToAlarm"])}/${String(alarm["EvaluationPeriods"])}`;
  const silence = String(alarm["TreatMissingData"]);
  const metric = String(alarm["MetricName"]);
  return `${metric} ${compare} ${String(alarm["Threshold"])}, ${periods} min, silence ${silence}`;
}

test("these are the alarms", () => {
  const all = Object.fromEntries(alarms.map((one) => [one["AlarmName"], described(one)]));
  const age = "ApproximateAgeOfOldestMessage";
  const depth = "ApproximateNumberOfMessagesVisible";
  assert.deepEqual(all, {
    "acme-queue-age": `${age} >= 300, 3/3 min, silence notBreaching`,
    "acme-dlq-depth": `${depth} >= 1, 1/1 min, silence notBreaching`,
    "acme-past-due-retries": "PastDueRetries >= 1, 3/5 min, silence breaching",
    "acme-fleet-size": "GroupInServiceInstances < 2, 10/10 min, silence breaching",
    "acme-hooks-5xx": "5XXError >= 5, 3/5 min, silence notBreaching",
    "acme-receiver-5xx": "5XXError >= 5, 3/5 min, silence notBreaching",
    "acme-authorizer-errors": "AuthorizerFaults >= 1, 3/5 min, silence notBreaching",
    "acme-requeue-errors": "RequeueFaults >= 1, 1/1 min, silence notBreaching",
  });
  for (const alarm of alarms) assert.equal(alarm["Period"], 60);
});

test("each is heard by somebody, and names its page", () => {
  const topic = Object.keys(resources(app, "AWS::SNS::Topic"))[0] ?? "";
  for (const alarm of alarms) {
    assert.deepEqual(alarm["AlarmActions"], [{ Ref: topic }]);
    assert.deepEqual(alarm["OKActions"], [{ Ref: topic }]);
    const name = String(alarm["AlarmName"]).replace("acme-", "");
    assert(String(alarm["AlarmDescription"]).endsWith(`docs/OPERATIONS.md#alarm-${name}`));
  }
  const subscribed = Object.values(resources(app, "AWS::SNS::Subscription"));
  assert.deepEqual(
    subscribed.map((one) => one.Properties["Endpoint"]),
    ["ops@example.com"],
  );
});

test("past-due retries are counted once a minute, where the alarm looks for them", () => {
  const [rule] = Object.values(resources(app, "AWS::Events::Rule"));
  assert.equal(rule?.Properties["ScheduleExpression"], "rate(1 minute)");
  const alarm = alarms.find((one) => one["MetricName"] === "PastDueRetries");
  assert.equal(alarm?.["Namespace"], "Posthaste");
  assert.deepEqual(alarm["Dimensions"], [{ Name: "Prefix", Value: "acme" }]);
  assert.equal(alarm["Statistic"], "Maximum");
});

/** The pattern of a function's faults; the alarm's metric is the filter's. */
function faultsOf(name: string): string {
  const { Properties: filter } = resource(app, "AWS::Logs::MetricFilter", `Functions${name}Faults`);
  const group = (filter["LogGroupName"] as { Ref: string }).Ref;
  const groups = resources(app, "AWS::Logs::LogGroup");
  assert.equal(groups[group]?.Properties["LogGroupName"], `/aws/lambda/acme-${name.toLowerCase()}`);
  const [made] = filter["MetricTransformations"] as Record<string, string>[];
  const alarm = alarms.find((one) => one["MetricName"] === made?.["MetricName"]);
  assert.equal(made?.["MetricValue"], "1");
  assert.equal(alarm?.["Namespace"], made["MetricNamespace"]);
  assert.equal(alarm?.["Statistic"], "Sum");
  return String(filter["FilterPattern"]);
}

const OURS = '($.level = "ERROR" && $.target = "*")';
const ENDED =
  '($.type = "platform.report" && ($.record.status = "timeout" || $.record.errorType = "Runtime.*"))';

test("what clients do is no fault of the authorizer", () => {
  assert.equal(faultsOf("Authorizer"), `{ ${OURS} || ${ENDED} }`);
  const code = readFileSync(join(TOP, "lambda", "src", "authorize.rs"), "utf8");
  // Of all that it tells, one line has the level that counts: the one before the answer `Fault`.
  assert.deepEqual(code.match(/\berror!\([^;]*;\s*Err\(Refused::new\("[A-Za-z]+"/g)?.length, 1);
  assert.match(code, /\berror!\([^;]*;\s*Err\(Refused::new\("Fault"/);
  assert.match(code, /info!\([^;]*;\s*Err\(Refused::new\("Unauthorized"/);
  assert.equal(code.match(/\berror!\(/g)?.length, 1);
});

test("a requeue that answers with a fault counts as one", () => {
  const told = '($.message = "requeued in part")';
  assert.equal(faultsOf("Requeue"), `{ ${OURS} || ${ENDED} || ${told} }`);
  const code = readFileSync(join(TOP, "lambda", "src", "requeue.rs"), "utf8");
  assert.match(code, /Some\(error\) => warn!\([^;]*"requeued in part"\),/);
});

test("the functions' lines are flat, as the filters read them", () => {
  const code = readFileSync(join(TOP, "lambda", "src", "logging.rs"), "utf8");
  assert.match(code, /fmt::layer\(\)\s*\.json\(\)\s*\.flatten_event\(true\)/);
  assert.doesNotMatch(code, /\.with_(target|level)\(false\)/);
});

test("the dashboard shows every alarm", () => {
  const [page] = Object.values(resources(app, "AWS::CloudWatch::Dashboard"));
  const body = readable(page?.Properties["DashboardBody"]);
  for (const id of Object.keys(resources(app, "AWS::CloudWatch::Alarm"))) {
    assert(body.includes(`<${id}.Arn>`), id);
  }
});
