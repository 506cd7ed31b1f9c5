/**
 * The four functions, and what each of them may do: spelled out, action by action.
 *
 * A role has what its function's code calls and nothing else. `actions` stand beside the table or
 * queue that they are for, so that a new call in the code needs a line here, which somebody reads.
 */

import { ArnFormat, Duration, RemovalPolicy, Stack } from "aws-cdk-lib";
import type * as cloudwatch from "aws-cdk-lib/aws-cloudwatch";
import type * as dynamodb from "aws-cdk-lib/aws-dynamodb";
import * as iam from "aws-cdk-lib/aws-iam";
import * as lambda from "aws-cdk-lib/aws-lambda";
import * as logs from "aws-cdk-lib/aws-logs";
import { Construct } from "constructs";
import { acknowledgeWildcard } from "./acknowledge";
import type { FunctionName } from "./artifacts";
import { faults } from "./faults";
import type { Storage } from "./storage";

/** For how long logs are kept: longer than an event can still be looked at. */
export const LOGS_KEPT = logs.RetentionDays.THREE_MONTHS;

/** API Gateway waits 29 seconds; a function that answers later answers nobody. */
const API_TIMEOUT = Duration.seconds(28);
/** What a caller waits for before its own request begins. */
const AUTHORIZER_TIMEOUT = Duration.seconds(5);
/** A round of 1,000 dead letters takes seconds; by hand, one call may take many. */
const REQUEUE_TIMEOUT = Duration.minutes(5);
/** Processor time goes with memory: below this, TLS alone makes a cold start slow. */
const MEMORY_MB = 256;
/** A batch of 5 MiB is held as text, as bytes and as statements. */
const INGEST_MEMORY_MB = 512;
/** How the log of `requeue` tells of a fault that its answer names (lambda/src/requeue.rs). */
const REQUEUED_IN_PART = "requeued in part";

interface FunctionShape {
  readonly name: FunctionName;
  readonly code: string;
  readonly description: string;
  readonly timeout: Duration;
  readonly memorySize: number;
  readonly statements: readonly iam.PolicyStatement[];
}

export interface FunctionsProps {
  readonly prefix: string;
  readonly adminKeySha256: string | undefined;
  readonly code: Readonly<Record<FunctionName, string>>;
  readonly storage: Storage;
}

export class Functions extends Construct {
  readonly authorizer: lambda.Function;
  readonly ingest: lambda.Function;
  readonly receiver: lambda.Function;
  readonly requeue: lambda.Function;
  readonly authorizerFaults: cloudwatch.Metric;
  readonly requeueFaults: cloudwatch.Metric;

  constructor(
    scope: Construct,
    id: string,
    private readonly props: FunctionsProps,
  ) {
    super(scope, id);
    const { code, storage } = props;
    this.authorizer = this.function({
      name: "authorizer",
      code: code.authorizer,
      description: "Says whose API key a request carries",
      timeout: AUTHORIZER_TIMEOUT,
      memorySize: MEMORY_MB,
      statements: [readIdentity(storage.identities)],
    });
    this.ingest = this.function({
      name: "ingest",
      code: code.ingest,
      description: "Takes events in; tenants, keys and dead letters",
      timeout: API_TIMEOUT,
      memorySize: INGEST_MEMORY_MB,
      statements: ingestStatements(storage),
    });
    this.receiver = this.function({
      name: "receiver",
      code: code.receiver,
      description: "Takes test deliveries and verifies them",
      timeout: API_TIMEOUT,
      memorySize: MEMORY_MB,
      statements: receiverStatements(storage.tenants),
    });
    this.requeue = this.function({
      name: "requeue",
      code: code.requeue,
      description: "Begins a fresh round for dead letters",
      timeout: REQUEUE_TIMEOUT,
      memorySize: MEMORY_MB,
      statements: requeueStatements(storage),
    });
    const { prefix } = props;
    this.authorizerFaults = faults(this, "AuthorizerFaults", prefix, this.authorizer);
    this.requeueFaults = faults(this, "RequeueFaults", prefix, this.requeue, [REQUEUED_IN_PART]);
  }

  /** The same for all (lambda/README.md); what one has no use for it passes over. */
  private environment(): Record<string, string> {
    const { prefix, adminKeySha256: admin } = this.props;
    return {
      POSTHASTE_AWS_PREFIX: prefix,
      ...(admin === undefined ? {} : { POSTHASTE_AUTH_ADMIN_KEY_SHA256: admin }),
    };
  }

  private function(shape: FunctionShape): lambda.Function {
    const functionName = `${this.props.prefix}-${shape.name}`;
    const id = shape.name.charAt(0).toUpperCase() + shape.name.slice(1);
    const { logGroup, role } = loggingRole(this, id, functionName);
    shape.statements.forEach((statement) => role.addToPolicy(statement));
    return new lambda.Function(this, id, {
      functionName,
      description: shape.description,
      code: lambda.Code.fromAsset(shape.code),
      handler: "bootstrap",
      runtime: lambda.Runtime.PROVIDED_AL2023,
      architecture: lambda.Architecture.ARM_64,
      memorySize: shape.memorySize,
      timeout: shape.timeout,
      role,
      logGroup,
      loggingFormat: lambda.LoggingFormat.JSON,
      environment: this.environment(),
    });
  }
}

/** A log group, and a role that may write to it and, so far, do nothing else. */
export function loggingRole(
  scope: Construct,
  id: string,
  functionName: string,
): { logGroup: logs.LogGroup; role: iam.Role } {
  const logGroup = new logs.LogGroup(scope, `${id}Logs`, {
    logGroupName: `/aws/lambda/${functionName}`,
    retention: LOGS_KEPT,
    removalPolicy: RemovalPolicy.DESTROY,
  });
  const role = new iam.Role(scope, `${id}Role`, {
    assumedBy: new iam.ServicePrincipal("lambda.amazonaws.com"),
  });
  role.addToPolicy(
    new iam.PolicyStatement({
      sid: "Log",
      actions: ["logs:CreateLogStream", "logs:PutLogEvents"],
      resources: [streamsOf(scope, `/aws/lambda/${functionName}`)],
    }),
  );
  acknowledgeWildcard(
    role,
    `logs:<AWS::Region>:<AWS::AccountId>:log-group:/aws/lambda/${functionName}:log-stream:*`,
    "Lambda makes up the names of streams; the group is the function's own.",
  );
  return { logGroup, role };
}

/** Written out, not taken from the group, so that no policy waits for the group to be made. */
function streamsOf(scope: Construct, logGroupName: string): string {
  return Stack.of(scope).formatArn({
    service: "logs",
    resource: "log-group",
    resourceName: `${logGroupName}:log-stream:*`,
    arnFormat: ArnFormat.COLON_RESOURCE_NAME,
  });
}

/** One row by its key, and of it these attributes only: enforced here, not by the code alone. */
function readIdentity(identities: dynamodb.ITable): iam.PolicyStatement {
  return new iam.PolicyStatement({
    sid: "ReadIdentity",
    actions: ["dynamodb:GetItem"],
    resources: [identities.tableArn],
    conditions: {
      "ForAllValues:StringEquals": {
        "dynamodb:Attributes": ["apiKey", "tenantId", "status", "plan"],
      },
      StringEqualsIfExists: { "dynamodb:Select": "SPECIFIC_ATTRIBUTES" },
    },
  });
}

function ingestStatements(storage: Storage): iam.PolicyStatement[] {
  return [
    new iam.PolicyStatement({
      sid: "Events",
      actions: [
        "dynamodb:BatchGetItem",
        "dynamodb:GetItem",
        "dynamodb:PartiQLInsert",
        "dynamodb:PartiQLUpdate",
        "dynamodb:PutItem",
        "dynamodb:Query",
        "dynamodb:UpdateItem",
      ],
      resources: [storage.events.tableArn],
    }),
    readStanding(storage.events),
    new iam.PolicyStatement({
      sid: "Tenants",
      actions: ["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"],
      resources: [storage.tenants.tableArn],
    }),
    // Whose key a request carries the authorizer has said, up to five minutes ago. Routes that
    // change or destroy ask again.
    readIdentity(storage.identities),
    // Makes, lists and revokes keys.
    new iam.PolicyStatement({
      sid: "Keys",
      actions: ["dynamodb:BatchGetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"],
      resources: [storage.identities.tableArn],
    }),
    send(storage),
  ];
}

/** A scan of the index is how the admin's view finds everybody's dead letters. */
function readStanding(events: dynamodb.ITable): iam.PolicyStatement {
  return new iam.PolicyStatement({
    sid: "Standing",
    actions: ["dynamodb:Query", "dynamodb:Scan"],
    resources: [`${events.tableArn}/index/standing`],
  });
}

function send(storage: Storage): iam.PolicyStatement {
  return new iam.PolicyStatement({
    sid: "Send",
    actions: ["sqs:GetQueueUrl", "sqs:SendMessage"],
    resources: [storage.queue.queueArn],
  });
}

/** Verifying takes the secrets; the switch is one row, and the only one that may be written. */
function receiverStatements(tenants: dynamodb.ITable): iam.PolicyStatement[] {
  return [
    new iam.PolicyStatement({
      sid: "ReadTenants",
      actions: ["dynamodb:GetItem"],
      resources: [tenants.tableArn],
    }),
    new iam.PolicyStatement({
      sid: "Switch",
      actions: ["dynamodb:UpdateItem"],
      resources: [tenants.tableArn],
      conditions: {
        "ForAllValues:StringEquals": { "dynamodb:LeadingKeys": ["__GLOBAL_CONFIG__"] },
      },
    }),
  ];
}

/** By the API it asks again whose key a request carries, as ingest does. */
function requeueStatements(storage: Storage): iam.PolicyStatement[] {
  return [
    readIdentity(storage.identities),
    new iam.PolicyStatement({
      sid: "Rows",
      actions: ["dynamodb:BatchGetItem", "dynamodb:PartiQLUpdate", "dynamodb:UpdateItem"],
      resources: [storage.events.tableArn],
    }),
    readStanding(storage.events),
    send(storage),
    new iam.PolicyStatement({
      sid: "DeadLetters",
      actions: [
        "sqs:ChangeMessageVisibility",
        "sqs:DeleteMessage",
        "sqs:GetQueueUrl",
        "sqs:ReceiveMessage",
      ],
      resources: [storage.deadLetters.queueArn],
    }),
  ];
}
