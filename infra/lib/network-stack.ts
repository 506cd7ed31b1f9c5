/**
 * The network: a VPC of two zones in which the daemons stand.
 *
 * The subnets are public and there is no NAT: a daemon opens connections to the whole internet all
 * day and takes none, so its security group has no way in. A NAT would cost $0.045 for each
 * gigabyte delivered and an hourly price for each zone. What one gives up is a fixed address to
 * deliver from; a fleet that needs one gets a NAT here, and nothing else changes.
 *
 * A stack of its own, because it changes once a year and the app changes every week.
 */

import { RemovalPolicy, Stack, type StackProps } from "aws-cdk-lib";
import * as ec2 from "aws-cdk-lib/aws-ec2";
import * as iam from "aws-cdk-lib/aws-iam";
import * as logs from "aws-cdk-lib/aws-logs";
import type { Construct } from "constructs";

const ZONES = 2;

export class NetworkStack extends Stack {
  readonly vpc: ec2.Vpc;
  readonly securityGroup: ec2.SecurityGroup;

  constructor(scope: Construct, id: string, props: StackProps) {
    super(scope, id, props);
    this.vpc = new ec2.Vpc(this, "Vpc", {
      ipAddresses: ec2.IpAddresses.cidr("10.64.0.0/20"),
      maxAzs: ZONES,
      natGateways: 0,
      // Emptying the default group takes a function with a custom resource; nothing here uses it.
      restrictDefaultSecurityGroup: false,
      subnetConfiguration: [{ name: "daemon", subnetType: ec2.SubnetType.PUBLIC, cidrMask: 24 }],
      // Both are free, and spare the rows and the package the way around by the internet.
      gatewayEndpoints: {
        DynamoDb: { service: ec2.GatewayVpcEndpointAwsService.DYNAMODB },
        S3: { service: ec2.GatewayVpcEndpointAwsService.S3 },
      },
    });
    this.securityGroup = new ec2.SecurityGroup(this, "Daemon", {
      vpc: this.vpc,
      description: "Posthaste daemons: every way out, no way in",
      // A receiver may listen on any port; which addresses are allowed the daemon decides.
      allowAllOutbound: true,
    });
    this.logRefusedTraffic();
  }

  /** Refused packets only: accepted ones are the deliveries, which the rows tell better. */
  private logRefusedTraffic(): void {
    const group = new logs.LogGroup(this, "RefusedTraffic", {
      retention: logs.RetentionDays.ONE_MONTH,
      removalPolicy: RemovalPolicy.DESTROY,
    });
    const role = new iam.Role(this, "RefusedTrafficRole", {
      assumedBy: new iam.ServicePrincipal("vpc-flow-logs.amazonaws.com"),
    });
    this.vpc.addFlowLog("Refused", {
      destination: ec2.FlowLogDestination.toCloudWatchLogs(group, role),
      trafficType: ec2.FlowLogTrafficType.REJECT,
    });
  }
}
