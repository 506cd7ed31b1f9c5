/**
 * What a person must look at, each with its page in docs/OPERATIONS.md. An alarm here is a promise
 * in danger, not a busy day.
 */

import { Duration } from "aws-cdk-lib";
import * as cloudwatch from "aws-cdk-lib/aws-cloudwatch";
import { SnsAction } from "aws-cdk-lib/aws-cloudwatch-actions";
import type * as sns from "aws-cdk-lib/aws-sns";
import { Construct } from "constructs";
import type { Api } from "./api";
import type { Fleet } from "./fleet";
import type { Functions } from "./functions";
import type { PastDue } from "./past-due";
import type { Storage } from "./storage";

/** Fresh events wait seconds; five minutes without a first attempt is an outage. */
const QUEUE_AGE_S = 300;
const MINUTE = Duration.minutes(1);

const { ComparisonOperator: compare, TreatMissingData: missing } = cloudwatch;

interface Rule {
  readonly name: string;
  readonly description: string;
  readonly metric: cloudwatch.Metric;
  /** It sounds from here on, or below it where `below` says so. */
  readonly threshold: number;
  readonly below?: boolean;
  /** For how many of how many periods. */
  readonly minutes: number;
  readonly of?: number;
  readonly missing?: cloudwatch.TreatMissingData;
}

export interface AlarmsProps {
  readonly prefix: string;
  readonly topic: sns.ITopic;
  readonly storage: Storage;
  readonly functions: Functions;
  readonly hooks: Api;
  readonly receiver: Api;
  readonly pastDue: PastDue;
  readonly fleet: Fleet;
  readonly instances: number;
}

export class Alarms extends Construct {
  readonly all: cloudwatch.Alarm[];

  constructor(scope: Construct, id: string, props: AlarmsProps) {
    super(scope, id);
    this.all = rules(props).map((rule) => {
      const words = rule.name.split("-").map((word) => word.charAt(0).toUpperCase() + word.slice(1));
      const alarm = new cloudwatch.Alarm(this, words.join(""), {
        alarmName: `${props.prefix}-${rule.name}`,
        alarmDescription: `${rule.description} docs/OPERATIONS.md#alarm-${rule.name}`,
        metric: rule.metric,
        threshold: rule.threshold,
        comparisonOperator: rule.below
          ? compare.LESS_THAN_THRESHOLD
          : compare.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
        evaluationPeriods: rule.of ?? rule.minutes,
        datapointsToAlarm: rule.minutes,
        treatMissingData: rule.missing ?? missing.NOT_BREACHING,
      });
      const action = new SnsAction(props.topic);
      alarm.addAlarmAction(action);
      alarm.addOkAction(action);
      return alarm;
    });
  }
}

function rules(props: AlarmsProps): Rule[] {
  return [...workRules(props), ...requestRules(props)];
}

/** Whether what was accepted is delivered. */
function workRules({ storage, pastDue, fleet, instances }: AlarmsProps): Rule[] {
  const { queue, deadLetters } = storage;
  return [
    {
      name: "queue-age",
      description: "Accepted events wait for their first attempt.",
      metric: queue.metricApproximateAgeOfOldestMessage({
        period: MINUTE,
        statistic: cloudwatch.Stats.MAXIMUM,
      }),
      threshold: QUEUE_AGE_S,
      minutes: 3,
    },
    {
      name: "dlq-depth",
      description: "Events used up their attempts, or cannot be read.",
      metric: deadLetters.metricApproximateNumberOfMessagesVisible({
        period: MINUTE,
        statistic: cloudwatch.Stats.MAXIMUM,
      }),
      threshold: 1,
      minutes: 1,
    },
    {
      name: "past-due-retries",
      description: "Retries are due and no daemon takes them over, or nobody counts them.",
      metric: pastDue.count(),
      threshold: 1,
      minutes: 3,
      of: 5,
      missing: missing.BREACHING,
    },
    {
      name: "fleet-size",
      description: "Fewer instances are in service than there should be.",
      metric: new cloudwatch.Metric({
        namespace: "AWS/AutoScaling",
        metricName: "GroupInServiceInstances",
        dimensionsMap: { AutoScalingGroupName: fleet.groupName },
        statistic: cloudwatch.Stats.MINIMUM,
        period: MINUTE,
      }),
      threshold: instances,
      below: true,
      minutes: 10,
      missing: missing.BREACHING,
    },
  ];
}

/** Whether requests are answered. */
function requestRules({ functions, hooks, receiver }: AlarmsProps): Rule[] {
  const sum = { period: MINUTE, statistic: cloudwatch.Stats.SUM };
  return [
    {
      name: "hooks-5xx",
      description: "Clients get errors where events are taken in.",
      metric: hooks.rest.metricServerError(sum),
      threshold: 5,
      minutes: 3,
      of: 5,
    },
    {
      name: "receiver-5xx",
      description: "The receiver of test deliveries answers with errors.",
      metric: receiver.rest.metricServerError(sum),
      threshold: 5,
      minutes: 3,
      of: 5,
    },
    {
      name: "authorizer-errors",
      description: "API keys cannot be checked.",
      metric: functions.authorizerFaults,
      threshold: 1,
      minutes: 3,
      of: 5,
    },
    {
      name: "requeue-errors",
      description: "Dead letters could not be requeued.",
      metric: functions.requeueFaults,
      threshold: 1,
      minutes: 1,
    },
  ];
}
