/**
 * The daemons: Graviton instances in an Auto Scaling group.
 *
 * What is new (a package, a setting) is a new launch template, and CloudFormation replaces instance
 * by instance: one more boots, says that its daemon is ready, and then an old one drains. A boot
 * that fails rolls the update back.
 *
 * The ledger has an EBS volume of its own for each instance. It survives a reboot and a stop, not
 * the instance's end; then PROTOCOL's leases and sweep take over, so nothing has to be moved.
 */

import { ArnFormat, Duration, Stack, Tags } from "aws-cdk-lib";
import * as autoscaling from "aws-cdk-lib/aws-autoscaling";
import * as ec2 from "aws-cdk-lib/aws-ec2";
import * as iam from "aws-cdk-lib/aws-iam";
import { Asset } from "aws-cdk-lib/aws-s3-assets";
import type * as sns from "aws-cdk-lib/aws-sns";
import { Construct } from "constructs";
import { acknowledgeWildcard } from "./acknowledge";
import type { Config } from "./config";
import type { NetworkStack } from "./network-stack";
import type { Storage } from "./storage";
import { userData } from "./user-data";

/**
 * The release that the package is tested on. Resolved when an instance starts, so that each new one
 * has the newest security updates.
 */
const IMAGE = "/aws/service/debian/release/12/latest/arm64";
const ROOT_GIB = 8;
/** A million waiting retries take about a gigabyte; the least that gp3 gives is fast enough. */
const LEDGER_GIB = 16;
/** Attempts in flight end in 35 s; giving away a million leases takes some minutes. */
const DRAIN_MAX = Duration.minutes(10);
/** Boot, packages, ledger, ready: about two minutes. */
const BOOT_MAX = Duration.minutes(10);
const HOOK = "drain";

export interface FleetProps {
  readonly config: Config;
  readonly network: NetworkStack;
  readonly storage: Storage;
  readonly package: string;
  readonly notified: sns.ITopic;
}

export class Fleet extends Construct {
  readonly group: autoscaling.AutoScalingGroup;
  readonly groupName: string;

  constructor(
    scope: Construct,
    id: string,
    private readonly props: FleetProps,
  ) {
    super(scope, id);
    const { config, network, notified } = props;
    this.groupName = `${config.prefix}-fleet`;
    const asset = new Asset(this, "Package", { path: props.package });
    const role = this.role(asset);
    this.group = new autoscaling.AutoScalingGroup(this, "Group", {
      autoScalingGroupName: this.groupName,
      vpc: network.vpc,
      vpcSubnets: { subnetType: ec2.SubnetType.PUBLIC },
      launchTemplate: this.launchTemplate(role),
      minCapacity: config.instances,
      // Room for the one that boots before an old one goes.
      maxCapacity: config.instances + 1,
      healthChecks: autoscaling.HealthChecks.ec2({ gracePeriod: BOOT_MAX }),
      groupMetrics: [autoscaling.GroupMetrics.all()],
      notifications: [{ topic: notified, scalingEvents: autoscaling.ScalingEvents.ALL }],
      signals: autoscaling.Signals.waitForAll({ timeout: BOOT_MAX }),
      updatePolicy: autoscaling.UpdatePolicy.rollingUpdate({
        minInstancesInService: config.instances,
        maxBatchSize: 1,
        pauseTime: BOOT_MAX,
        waitOnResourceSignals: true,
      }),
    });
    this.group.addLifecycleHook("Drain", {
      lifecycleHookName: HOOK,
      lifecycleTransition: autoscaling.LifecycleTransition.INSTANCE_TERMINATING,
      heartbeatTimeout: DRAIN_MAX,
      defaultResult: autoscaling.DefaultResult.CONTINUE,
    });
    this.boot(asset);
  }

  /** The script names the group, whose name in the stack is known only when it is there. */
  private boot(asset: Asset): void {
    const stack = Stack.of(this);
    const group = this.group.node.defaultChild as autoscaling.CfnAutoScalingGroup;
    const template = this.node.findChild("Template").node.defaultChild as ec2.CfnLaunchTemplate;
    const script = userData({
      prefix: this.props.config.prefix,
      region: stack.region,
      packageUrl: asset.s3ObjectUrl,
      stackName: stack.stackName,
      groupName: this.groupName,
      groupId: stack.getLogicalId(group),
      hookName: HOOK,
    });
    template.addPropertyOverride("LaunchTemplateData.UserData", {
      "Fn::Base64": stack.resolve(script.render()),
    });
  }

  private launchTemplate(role: iam.Role): ec2.LaunchTemplate {
    const { config, network } = this.props;
    const template = new ec2.LaunchTemplate(this, "Template", {
      launchTemplateName: `${config.prefix}-fleet`,
      instanceType: new ec2.InstanceType(config.instanceType),
      machineImage: ec2.MachineImage.resolveSsmParameterAtLaunch(IMAGE),
      role,
      securityGroup: network.securityGroup,
      detailedMonitoring: true,
      requireImdsv2: true,
      httpPutResponseHopLimit: 1,
      blockDevices: [
        { deviceName: "/dev/xvda", volume: volume(ROOT_GIB) },
        { deviceName: "/dev/sdf", volume: volume(LEDGER_GIB) },
      ],
    });
    Tags.of(template).add("Name", `${config.prefix}-daemon`);
    return template;
  }

  private role(asset: Asset): iam.Role {
    const role = new iam.Role(this, "Role", {
      assumedBy: new iam.ServicePrincipal("ec2.amazonaws.com"),
      description: "What a Posthaste daemon may do",
    });
    const statements = [
      ...daemonStatements(this.props.storage),
      this.drained(),
      // Not `asset.grantRead`, which opens the whole bucket of assets.
      new iam.PolicyStatement({
        sid: "Package",
        actions: ["s3:GetObject"],
        resources: [asset.bucket.arnForObjects(asset.s3ObjectKey)],
      }),
    ];
    statements.forEach((statement) => role.addToPolicy(statement));
    acknowledgeWildcard(
      role,
      `autoscaling:<AWS::Region>:<AWS::AccountId>:autoScalingGroup:*:` +
        `autoScalingGroupName/${this.groupName}`,
      "The star stands for an id that is made up when the group is; the name tells which it is.",
    );
    return role;
  }

  /** To say that a drain is over. That a boot has worked it may say by `signals` of the group. */
  private drained(): iam.PolicyStatement {
    const group = Stack.of(this).formatArn({
      service: "autoscaling",
      resource: "autoScalingGroup",
      resourceName: `*:autoScalingGroupName/${this.groupName}`,
      arnFormat: ArnFormat.COLON_RESOURCE_NAME,
    });
    return new iam.PolicyStatement({
      sid: "Drained",
      actions: ["autoscaling:CompleteLifecycleAction"],
      resources: [group],
    });
  }
}

function volume(gib: number): ec2.BlockDeviceVolume {
  return ec2.BlockDeviceVolume.ebs(gib, {
    volumeType: ec2.EbsDeviceVolumeType.GP3,
    encrypted: true,
    deleteOnTermination: true,
  });
}

/** What `crates/courier` does through `crates/aws`, and what `posthaste check` tries. */
function daemonStatements(storage: Storage): iam.PolicyStatement[] {
  const { events, tenants, identities, queue, deadLetters } = storage;
  return [
    new iam.PolicyStatement({
      sid: "Rows",
      actions: ["dynamodb:BatchGetItem", "dynamodb:PartiQLUpdate"],
      resources: [events.tableArn],
    }),
    new iam.PolicyStatement({
      sid: "Sweep",
      actions: ["dynamodb:Query"],
      resources: [`${events.tableArn}/index/work`],
    }),
    // Targets and secrets. The admin key of the local listener is in a file of the package's.
    new iam.PolicyStatement({
      sid: "Tenants",
      actions: ["dynamodb:GetItem"],
      resources: [tenants.tableArn],
    }),
    new iam.PolicyStatement({
      sid: "Check",
      actions: ["dynamodb:DescribeTable"],
      resources: [events.tableArn, tenants.tableArn, identities.tableArn],
    }),
    new iam.PolicyStatement({
      sid: "Take",
      actions: [
        "sqs:ChangeMessageVisibility",
        "sqs:DeleteMessage",
        "sqs:GetQueueAttributes",
        "sqs:GetQueueUrl",
        "sqs:ReceiveMessage",
      ],
      resources: [queue.queueArn],
    }),
    new iam.PolicyStatement({
      sid: "Bury",
      actions: ["sqs:GetQueueAttributes", "sqs:GetQueueUrl", "sqs:SendMessage"],
      resources: [deadLetters.queueArn],
    }),
  ];
}
