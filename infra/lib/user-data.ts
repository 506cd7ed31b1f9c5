/**
 * What an instance is told at its first boot: settings, the files that it writes, and
 * `instance/install.sh`, which does the work and can be tested without an instance.
 */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { UserData } from "aws-cdk-lib/aws-ec2";

/** From `build/lib`, where this runs, to `instance`. */
const INSTANCE = join(__dirname, "..", "..", "instance");

export interface UserDataProps {
  readonly prefix: string;
  readonly region: string;
  /** The package's address in S3. */
  readonly packageUrl: string;
  readonly stackName: string;
  readonly groupName: string;
  /** The group's logical id, which CloudFormation is told about. */
  readonly groupId: string;
  readonly hookName: string;
}

/** The script of the first boot. */
export function userData(props: UserDataProps): UserData {
  const settings = {
    PREFIX: props.prefix,
    REGION: props.region,
    PACKAGE: props.packageUrl,
    STACK: props.stackName,
    GROUP: props.groupName,
    GROUP_ID: props.groupId,
    HOOK: props.hookName,
  };
  const assignments = Object.entries(settings).map(([name, value]) => `${name}='${value}'`);
  return UserData.custom(
    [
      "#!/bin/bash",
      ...assignments,
      printing("posthaste_toml", daemonConfig()),
      printing("drain_sh", readFileSync(join(INSTANCE, "drain.sh"), "utf8"), "quoted"),
      printing("drain_service", drainService()),
      readFileSync(join(INSTANCE, "install.sh"), "utf8"),
    ].join("\n"),
  );
}

/** A function that prints a text; variables in it are replaced unless it is quoted. */
function printing(name: string, text: string, quoted?: "quoted"): string {
  const mark = quoted === undefined ? "END_OF_FILE" : "'END_OF_FILE'";
  return `${name}() { cat <<${mark}\n${text.trimEnd()}\nEND_OF_FILE\n}`;
}

/**
 * The daemon's own file. A stop here is an end: what is new comes on a new instance, so the leases
 * are given away. Whoever restarts a daemon by hand pays a row write for each waiting retry.
 */
function daemonConfig(): string {
  return `# Written by user data; a change by hand is lost with the instance.
[aws]
enabled = true
prefix = "$PREFIX"
region = "$REGION"
instance = "$INSTANCE"
release-at-stop = true

[log]
format = "json"
`;
}

function drainService(): string {
  return `[Unit]
Description=Lets Posthaste finish before this instance ends
After=network-online.target posthaste.service
Wants=network-online.target

[Service]
Environment=REGION=$REGION GROUP=$GROUP HOOK=$HOOK
ExecStart=/usr/local/sbin/posthaste-drain
Restart=on-failure
RestartSec=5s

[Install]
WantedBy=multi-user.target
`;
}
