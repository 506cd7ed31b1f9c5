/**
 * The app: tables, queues, functions, the two APIs, the daemons, and who watches over them.
 */

import { CfnOutput, RemovalPolicy, Stack, type StackProps, Validations } from "aws-cdk-lib";
import * as apigateway from "aws-cdk-lib/aws-apigateway";
import * as iam from "aws-cdk-lib/aws-iam";
import * as sns from "aws-cdk-lib/aws-sns";
import { EmailSubscription } from "aws-cdk-lib/aws-sns-subscriptions";
import type { Construct } from "constructs";
import { Alarms, type AlarmsProps } from "./alarms";
import { Api } from "./api";
import type { Artifacts } from "./artifacts";
import type { Config } from "./config";
import { Dashboard } from "./dashboard";
import { Fleet } from "./fleet";
import { Functions } from "./functions";
import type { NetworkStack } from "./network-stack";
import { PastDue } from "./past-due";
import { Storage } from "./storage";

export interface AppStackProps extends StackProps {
  readonly config: Config;
  readonly artifacts: Artifacts;
  readonly network: NetworkStack;
}

const GATEWAY_LOGS = "service-role/AmazonAPIGatewayPushToCloudWatchLogs";
const READ_BY_ALL = "Documentation, which is read before one has a key.";
const SIGNED = "A delivery is signed with the tenant's secret, which the function verifies.";
const TELLS_NOTHING = "Says whether the receiver is up and switched on, and nothing of a tenant.";

export class AppStack extends Stack {
  constructor(scope: Construct, id: string, props: AppStackProps) {
    super(scope, id, props);
    const { config, artifacts, network } = props;
    const { prefix, instances, adminKeySha256 } = config;
    const storage = new Storage(this, "Storage", prefix);
    const functions = new Functions(this, "Functions", {
      prefix,
      adminKeySha256,
      code: artifacts.functions,
      storage,
    });
    const account = this.gatewayAccount();
    const hooks = this.hooks(config, functions);
    const receiver = this.receiver(config, functions);
    for (const api of [hooks, receiver]) api.rest.deploymentStage.node.addDependency(account);
    const topic = this.topic(config);
    const fleet = new Fleet(this, "Fleet", {
      config,
      network,
      storage,
      package: artifacts.package,
      notified: topic,
    });
    const pastDue = new PastDue(this, "PastDue", prefix, storage.events);
    const watched: AlarmsProps = {
      prefix,
      topic,
      storage,
      functions,
      hooks,
      receiver,
      pastDue,
      fleet,
      instances,
    };
    const dashboard = new Dashboard(this, "Dashboard", watched, new Alarms(this, "Alarms", watched));
    this.outputs(watched, dashboard);
  }

  private hooks({ prefix, zone }: Config, functions: Functions): Api {
    const api = new Api(this, "Hooks", {
      prefix,
      host: "hooks",
      description: "Posthaste: events, tenants and dead letters",
      authorizer: functions.authorizer,
      zone,
    });
    api.withKey("/v1/{path+}", functions.ingest);
    // Ingest serves them too; this one also deletes what is stale in the queue of dead letters,
    // whose depth is an alarm.
    api.withKey("/v1/admin/dlq/requeue", functions.requeue, "POST");
    api.withKey("/v1/admin/dlq/purge", functions.requeue, "POST");
    for (const path of ["/v1/docs", "/v1/docs/assets/{file}", "/v1/redoc", "/v1/openapi.json"]) {
      api.open(path, "GET", functions.ingest, READ_BY_ALL);
    }
    return api;
  }

  private receiver({ prefix, zone }: Config, functions: Functions): Api {
    const api = new Api(this, "ReceiverApi", {
      prefix,
      host: "receiver",
      description: "Posthaste: the receiver of test deliveries",
      authorizer: functions.authorizer,
      zone,
    });
    const handler = functions.receiver;
    api.open("/{tenant_id}/webhook", "POST", handler, SIGNED);
    api.open("/status", "GET", handler, TELLS_NOTHING);
    api.open("/health", "GET", handler, TELLS_NOTHING);
    // Nothing wider than the files: a path with `/docs/` of its own would hide the webhook of a
    // tenant with that name.
    for (const path of ["/docs", "/docs/assets/{file}", "/redoc", "/openapi.json"]) {
      api.open(path, "GET", handler, READ_BY_ALL);
    }
    api.withKey("/enable", handler, "POST");
    api.withKey("/disable", handler, "POST");
    return api;
  }

  /**
   * Lets API Gateway write logs: a setting of the whole account in this region. It stays when the
   * stack goes, since other APIs may need it by then.
   */
  private gatewayAccount(): apigateway.CfnAccount {
    const role = new iam.Role(this, "GatewayLogs", {
      assumedBy: new iam.ServicePrincipal("apigateway.amazonaws.com"),
      managedPolicies: [iam.ManagedPolicy.fromAwsManagedPolicyName(GATEWAY_LOGS)],
    });
    role.applyRemovalPolicy(RemovalPolicy.RETAIN);
    Validations.of(role).acknowledge({
      id: `AwsSolutions-IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/${GATEWAY_LOGS}]`,
      reason: "API Gateway accepts no narrower policy for this setting than the one AWS manages.",
    });
    const account = new apigateway.CfnAccount(this, "Gateway", { cloudWatchRoleArn: role.roleArn });
    account.applyRemovalPolicy(RemovalPolicy.RETAIN);
    return account;
  }

  /** Who hears of alarms and of instances that come and go. */
  private topic({ prefix, alarmEmail }: Config): sns.Topic {
    const topic = new sns.Topic(this, "Notices", {
      topicName: `${prefix}-notices`,
      displayName: `Posthaste ${prefix}`,
      enforceSSL: true,
    });
    topic.grantPublish(new iam.ServicePrincipal("cloudwatch.amazonaws.com"));
    if (alarmEmail !== undefined) topic.addSubscription(new EmailSubscription(alarmEmail));
    return topic;
  }

  private outputs(app: AlarmsProps, dashboard: Dashboard): void {
    const { storage, functions, hooks, receiver, fleet, topic } = app;
    const page = `https://${this.region}.console.aws.amazon.com/cloudwatch/home#dashboards:name=`;
    const values = {
      HooksUrl: hooks.url,
      ReceiverUrl: receiver.url,
      QueueUrl: storage.queue.queueUrl,
      DeadLetterQueueUrl: storage.deadLetters.queueUrl,
      EventsTable: storage.events.tableName,
      TenantsTable: storage.tenants.tableName,
      IdentitiesTable: storage.identities.tableName,
      RequeueFunction: functions.requeue.functionName,
      FleetGroup: fleet.group.autoScalingGroupName,
      NoticesTopic: topic.topicArn,
      DashboardUrl: `${page}${dashboard.name}`,
    };
    for (const [name, value] of Object.entries(values)) new CfnOutput(this, name, { value });
  }
}
