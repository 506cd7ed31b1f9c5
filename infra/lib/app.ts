/** The CDK app: two stacks, tags, and the rules that synthesis is held to. */

import { App, type AppProps, Tags, Validations } from "aws-cdk-lib";
import { AwsSolutionsChecks } from "cdk-nag";
import { AppStack } from "./app-stack";
import type { Artifacts } from "./artifacts";
import type { Config } from "./config";
import { NetworkStack } from "./network-stack";

/** What CDK does differently since version 2.0, where it matters here. */
const FLAGS = {
  "@aws-cdk/aws-iam:minimizePolicies": true,
  "@aws-cdk/aws-ec2:launchTemplateDefaultUserData": true,
  "@aws-cdk/core:checkSecretUsage": true,
  "@aws-cdk/core:defaultCrossStackReferences": "strong",
  "@aws-cdk/core:target-partitions": ["aws"],
  "@aws-cdk/aws-apigateway:disableCloudWatchRole": true,
  "@aws-cdk/aws-sns-subscriptions:restrictSqsDescryption": true,
};

export interface Posthaste {
  readonly app: App;
  readonly network: NetworkStack;
  readonly stack: AppStack;
}

/**
 * The app of a configuration. Account and region are those of the credentials that it is deployed
 * with, so that synthesis asks nobody for anything.
 */
export function posthaste(config: Config, artifacts: Artifacts, props: AppProps = {}): Posthaste {
  const app = new App({ ...props, context: { ...FLAGS, ...props.context } });
  const network = new NetworkStack(app, `${config.prefix}-network`, {
    description: "Posthaste: the network",
  });
  const stack = new AppStack(app, `${config.prefix}-app`, {
    description: "Posthaste: tables, queues, functions, APIs and daemons",
    config,
    artifacts,
    network,
  });
  // CloudFormation takes no tags for a dashboard.
  const excludeResourceTypes = ["AWS::CloudWatch::Dashboard"];
  Tags.of(app).add("project", "posthaste", { excludeResourceTypes });
  Tags.of(app).add("posthaste:prefix", config.prefix, { excludeResourceTypes });
  Validations.of(app).addPlugins(new AwsSolutionsChecks(app));
  return { app, network, stack };
}
