/** One page that says, from top to bottom: is it well, is it late, is it asked for too much. */

import { Duration } from "aws-cdk-lib";
import * as cloudwatch from "aws-cdk-lib/aws-cloudwatch";
import type * as dynamodb from "aws-cdk-lib/aws-dynamodb";
import { Construct } from "constructs";
import type { AlarmsProps, Alarms } from "./alarms";

const HALF = 12;
const MINUTE = Duration.minutes(1);
const HEIGHT = 6;

export class Dashboard extends Construct {
  readonly name: string;

  constructor(scope: Construct, id: string, props: AlarmsProps, alarms: Alarms) {
    super(scope, id);
    this.name = props.prefix;
    const dashboard = new cloudwatch.Dashboard(this, "Page", {
      dashboardName: this.name,
      defaultInterval: Duration.hours(3),
    });
    dashboard.addWidgets(
      new cloudwatch.AlarmStatusWidget({ title: "Alarms", alarms: alarms.all, width: 2 * HALF }),
    );
    dashboard.addWidgets(queues(props), pastDue(props));
    dashboard.addWidgets(requests(props), latencies(props));
    dashboard.addWidgets(functions(props), tables(props));
    dashboard.addWidgets(fleet(props));
  }
}

function graph(
  title: string,
  left: cloudwatch.IMetric[],
  right: cloudwatch.IMetric[] = [],
): cloudwatch.GraphWidget {
  return new cloudwatch.GraphWidget({ title, left, right, width: HALF, height: HEIGHT });
}

function queues({ storage }: AlarmsProps): cloudwatch.GraphWidget {
  const { queue, deadLetters } = storage;
  const most = { period: MINUTE, statistic: cloudwatch.Stats.MAXIMUM };
  return graph(
    "Queues: messages, and the age of the oldest (right, seconds)",
    [
      queue.metricApproximateNumberOfMessagesVisible({ ...most, label: "waiting" }),
      queue.metricApproximateNumberOfMessagesNotVisible({ ...most, label: "held by daemons" }),
      deadLetters.metricApproximateNumberOfMessagesVisible({ ...most, label: "dead" }),
    ],
    [queue.metricApproximateAgeOfOldestMessage({ ...most, label: "age" })],
  );
}

function pastDue({ pastDue: watch }: AlarmsProps): cloudwatch.GraphWidget {
  return graph(
    "Retries that nobody has taken over, and for how long (right, seconds)",
    [watch.count().with({ label: "past due" })],
    [watch.oldest().with({ label: "oldest" })],
  );
}

function requests({ hooks, receiver }: AlarmsProps): cloudwatch.GraphWidget {
  const sum = { period: MINUTE, statistic: cloudwatch.Stats.SUM };
  return graph(
    "Requests a minute, and errors (right)",
    [
      hooks.rest.metricCount({ ...sum, label: "hooks" }),
      receiver.rest.metricCount({ ...sum, label: "receiver" }),
    ],
    [
      hooks.rest.metricClientError({ ...sum, label: "hooks 4xx" }),
      hooks.rest.metricServerError({ ...sum, label: "hooks 5xx" }),
      receiver.rest.metricServerError({ ...sum, label: "receiver 5xx" }),
    ],
  );
}

function latencies({ hooks }: AlarmsProps): cloudwatch.GraphWidget {
  const metric = (statistic: string): cloudwatch.IMetric =>
    hooks.rest.metricLatency({ period: MINUTE, statistic, label: statistic });
  return graph("Latency of hooks (ms)", ["p50", "p99", "p99.9"].map(metric));
}

function functions({ functions: all }: AlarmsProps): cloudwatch.GraphWidget {
  const each = Object.entries({
    authorizer: all.authorizer,
    ingest: all.ingest,
    receiver: all.receiver,
    requeue: all.requeue,
  });
  const p99 = { period: MINUTE, statistic: "p99" };
  const sum = { period: MINUTE, statistic: cloudwatch.Stats.SUM };
  return graph(
    "Functions: p99 (ms), and errors (right)",
    each.map(([label, one]) => one.metricDuration({ ...p99, label })),
    each.map(([label, one]) => one.metricErrors({ ...sum, label: `${label} errors` })),
  );
}

function tables({ storage }: AlarmsProps): cloudwatch.GraphWidget {
  const sum = { period: MINUTE, statistic: cloudwatch.Stats.SUM };
  const events: dynamodb.Table = storage.events;
  const throttled = (label: string, table: dynamodb.Table): cloudwatch.IMetric =>
    table.metric("ThrottledRequests", { ...sum, label });
  return graph(
    "Tables: units of events a minute, and throttled requests (right)",
    [
      events.metricConsumedWriteCapacityUnits({ ...sum, label: "written" }),
      events.metricConsumedReadCapacityUnits({ ...sum, label: "read" }),
    ],
    [throttled("events", events), throttled("tenants", storage.tenants)],
  );
}

function fleet({ fleet: { groupName } }: AlarmsProps): cloudwatch.GraphWidget {
  const metric = (namespace: string, metricName: string, label: string): cloudwatch.Metric =>
    new cloudwatch.Metric({
      namespace,
      metricName,
      dimensionsMap: { AutoScalingGroupName: groupName },
      statistic: cloudwatch.Stats.AVERAGE,
      period: MINUTE,
      label,
    });
  return graph(
    "Fleet: processor time (%), and instances in service (right)",
    [metric("AWS/EC2", "CPUUtilization", "CPU")],
    [metric("AWS/AutoScaling", "GroupInServiceInstances", "in service")],
  );
}
