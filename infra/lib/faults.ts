/**
 * Faults of a function, counted by its log. Lambda's own `Errors` counts what a function answers as
 * an error, and that is another thing: the authorizer's `Unauthorized` is the way to a 401, which
 * anybody can have; and what `requeue` could not do is told in an answer.
 */

import { Duration } from "aws-cdk-lib";
import type * as cloudwatch from "aws-cdk-lib/aws-cloudwatch";
import type * as lambda from "aws-cdk-lib/aws-lambda";
import * as logs from "aws-cdk-lib/aws-logs";
import type { Construct } from "constructs";

/** The functions' own lines, one flat JSON object each (lambda/src/logging.rs); only those have a target. */
const TOLD = '($.level = "ERROR" && $.target = "*")';

/** What Lambda says of an invocation that ended without an answer: late, crashed, out of memory. */
const ENDED =
  '($.type = "platform.report" && ($.record.status = "timeout" || $.record.errorType = "Runtime.*"))';

/**
 * The metric of a function's faults. `messages` are lines that tell of one although they are only
 * warnings.
 */
export function faults(
  scope: Construct,
  id: string,
  prefix: string,
  of: lambda.Function,
  messages: readonly string[] = [],
): cloudwatch.Metric {
  const also = messages.map((message) => `($.message = ${JSON.stringify(message)})`);
  const filter = new logs.MetricFilter(scope, id, {
    logGroup: of.logGroup,
    filterPattern: logs.FilterPattern.literal(`{ ${[TOLD, ENDED, ...also].join(" || ")} }`),
    metricNamespace: `Posthaste/${prefix}`,
    metricName: id,
    metricValue: "1",
  });
  return filter.metric({ period: Duration.minutes(1), statistic: "Sum" });
}
