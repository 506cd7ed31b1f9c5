import assert from "node:assert/strict";
import { test } from "node:test";
import { readable, resource, resources, synthesized } from "./support";

const { app, network } = synthesized();
const template = resource(app, "AWS::EC2::LaunchTemplate", "FleetTemplate").Properties;
const data = template["LaunchTemplateData"] as Record<string, unknown>;
const group = resource(app, "AWS::AutoScaling::AutoScalingGroup", "FleetGroup");

/** The script of the first boot, with references as `<Id>`. */
const script = readable((data["UserData"] as Record<string, unknown>)["Fn::Base64"]);

test("no way leads into a daemon", () => {
  const groups = Object.values(resources(network, "AWS::EC2::SecurityGroup"));
  assert.equal(groups.length, 1);
  assert.equal(groups[0]?.Properties["SecurityGroupIngress"], undefined);
  assert.deepEqual(resources(network, "AWS::EC2::SecurityGroupIngress"), {});
  assert.deepEqual(resources(app, "AWS::EC2::SecurityGroupIngress"), {});
});

test("an instance is a Graviton with the newest Debian", () => {
  assert.equal(data["InstanceType"], "c7g.large");
  assert.equal(data["ImageId"], "resolve:ssm:/aws/service/debian/release/12/latest/arm64");
});

test("credentials are for the instance alone", () => {
  assert.deepEqual(data["MetadataOptions"], { HttpPutResponseHopLimit: 1, HttpTokens: "required" });
});

test("the ledger has an encrypted volume of its own", () => {
  const volumes = data["BlockDeviceMappings"] as { DeviceName: string; Ebs: unknown }[];
  assert.deepEqual(volumes, [
    {
      DeviceName: "/dev/xvda",
      Ebs: { DeleteOnTermination: true, Encrypted: true, VolumeSize: 8, VolumeType: "gp3" },
    },
    {
      DeviceName: "/dev/sdf",
      Ebs: { DeleteOnTermination: true, Encrypted: true, VolumeSize: 16, VolumeType: "gp3" },
    },
  ]);
});

test("an instance that ends is drained first", () => {
  const hook = resource(app, "AWS::AutoScaling::LifecycleHook", "FleetGroup").Properties;
  assert.equal(hook["LifecycleTransition"], "autoscaling:EC2_INSTANCE_TERMINATING");
  assert.equal(hook["DefaultResult"], "CONTINUE");
  assert.equal(hook["HeartbeatTimeout"], 600);
  assert.equal(hook["LifecycleHookName"], "drain");
  assert.match(script, /^HOOK='drain'$/m);
});

test("an update boots one more, waits until it is ready, and then ends an old one", () => {
  assert.equal(group.Properties["MinSize"], "2");
  assert.equal(group.Properties["MaxSize"], "3");
  assert.deepEqual(group.UpdatePolicy, {
    AutoScalingRollingUpdate: {
      MaxBatchSize: 1,
      MinInstancesInService: 2,
      PauseTime: "PT10M",
      SuspendProcesses: [
        "HealthCheck",
        "ReplaceUnhealthy",
        "AZRebalance",
        "AlarmNotification",
        "ScheduledActions",
        "InstanceRefresh",
      ],
      WaitOnResourceSignals: true,
    },
    AutoScalingScheduledAction: { IgnoreUnmodifiedGroupSizeProperties: true },
  });
});

test("the first boot knows who it is and where its package lies", () => {
  const group = Object.keys(resources(app, "AWS::AutoScaling::AutoScalingGroup"))[0] ?? "";
  const settings = [...script.matchAll(/^([A-Z_]+)='(.*)'$/gm)].map(([, name, value]) => [name, value]);
  const { PACKAGE, ...others } = Object.fromEntries(settings) as Record<string, string>;
  assert.deepEqual(others, {
    PREFIX: "acme",
    REGION: "<AWS::Region>",
    STACK: "acme-app",
    GROUP: "acme-fleet",
    GROUP_ID: group,
    HOOK: "drain",
  });
  assert.match(PACKAGE ?? "", /^s3:\/\/.*\.deb$/);
  // EC2 takes no more.
  assert(Buffer.byteLength(script) < 16 * 1024, "user data is too long");
});
