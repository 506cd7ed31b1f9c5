/**
 * The metric of retries that nobody has taken over, measured once a minute from the rows
 * themselves.
 *
 * The daemons cannot publish it: what they know are their own retries, and those that matter are
 * of a daemon that is gone. So a small function counts keys of the index `work` and prints a line
 * that CloudWatch makes a metric of; no agent on the instances, no further right. When it fails,
 * there is no line, and the alarm takes that for a breach.
 */

import { Duration, Validations } from "aws-cdk-lib";
import * as cloudwatch from "aws-cdk-lib/aws-cloudwatch";
import type * as dynamodb from "aws-cdk-lib/aws-dynamodb";
import * as events from "aws-cdk-lib/aws-events";
import { LambdaFunction } from "aws-cdk-lib/aws-events-targets";
import * as iam from "aws-cdk-lib/aws-iam";
import * as lambda from "aws-cdk-lib/aws-lambda";
import { Construct } from "constructs";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { loggingRole } from "./functions";

const SOURCE = join(__dirname, "..", "..", "watch", "index.py");
const NAMESPACE = "Posthaste";
const EVERY = Duration.minutes(1);

export class PastDue extends Construct {
  readonly function: lambda.Function;

  constructor(
    scope: Construct,
    id: string,
    private readonly prefix: string,
    table: dynamodb.ITable,
  ) {
    super(scope, id);
    const functionName = `${prefix}-past-due`;
    const { logGroup, role } = loggingRole(this, "Watch", functionName);
    role.addToPolicy(
      new iam.PolicyStatement({
        sid: "Count",
        actions: ["dynamodb:Query"],
        resources: [`${table.tableArn}/index/work`],
      }),
    );
    this.function = new lambda.Function(this, "Watch", {
      functionName,
      description: "Counts retries that nobody has taken over",
      code: lambda.Code.fromInline(readFileSync(SOURCE, "utf8")),
      handler: "index.handler",
      runtime: lambda.Runtime.PYTHON_3_13,
      architecture: lambda.Architecture.ARM_64,
      memorySize: 256,
      timeout: Duration.seconds(50),
      role,
      logGroup,
      environment: { PREFIX: prefix, EVENTS_TABLE: table.tableName },
    });
    Validations.of(this.function).acknowledge({
      id: "AwsSolutions-L1",
      reason: "Runtimes are raised by hand, with the test that runs this function.",
    });
    new events.Rule(this, "Schedule", {
      ruleName: functionName,
      description: "Counts past-due retries",
      schedule: events.Schedule.rate(EVERY),
      targets: [new LambdaFunction(this.function, { retryAttempts: 0 })],
    });
  }

  /** How many retries are past due, at the worst of a minute. */
  count(): cloudwatch.Metric {
    return this.metric("PastDueRetries");
  }

  /** For how long the oldest has been. */
  oldest(): cloudwatch.Metric {
    return this.metric("OldestPastDueSeconds");
  }

  private metric(metricName: string): cloudwatch.Metric {
    return new cloudwatch.Metric({
      namespace: NAMESPACE,
      metricName,
      dimensionsMap: { Prefix: this.prefix },
      statistic: cloudwatch.Stats.MAXIMUM,
      period: EVERY,
    });
  }
}
