/**
 * The three tables and the two queues (the contract's section 5).
 *
 * The names, keys and indexes are those of `crates/aws` (`settings.rs`, `setup.rs`, `item.rs`);
 * tests/storage.test.ts reads them there and fails where the two differ.
 *
 * All of it stays when the stack goes: the rows are the promise, and the queue carries it. A stack
 * that comes back under the same prefix must import them, or they must be deleted by hand.
 */

import { Duration, RemovalPolicy, Validations } from "aws-cdk-lib";
import * as dynamodb from "aws-cdk-lib/aws-dynamodb";
import * as sqs from "aws-cdk-lib/aws-sqs";
import { Construct } from "constructs";

/** For how long a received message is hidden (PROTOCOL, constants). */
const VISIBILITY = Duration.seconds(180);
/**
 * The most that SQS grants. An event that has had no attempt yet is held by its message alone (an
 * endpoint that is paused, or far behind); what is older has its row, and a person must look. For
 * dead letters it is as long as their rows can be requeued.
 */
const KEPT = Duration.days(14);
const LONG_POLL = Duration.seconds(20);

export class Storage extends Construct {
  readonly events: dynamodb.Table;
  readonly tenants: dynamodb.Table;
  readonly identities: dynamodb.Table;
  readonly queue: sqs.Queue;
  readonly deadLetters: sqs.Queue;

  constructor(scope: Construct, id: string, prefix: string) {
    super(scope, id);
    this.events = this.table("Events", `${prefix}-Events`, {
      partitionKey: text("tenantId"),
      sortKey: text("eventId"),
      timeToLiveAttribute: "ttl",
    });
    // Rows that a daemon owes: in it from the first failure to the end, so that an event that
    // succeeds at once never touches it.
    this.index("work", number("wk"), number("due"));
    // A tenant's rows that failed, died or were purged.
    this.index("standing", text("standing"), text("eventId"));
    const tenants = `${prefix}-TenantWebhookConfig`;
    this.tenants = this.table("Tenants", tenants, { partitionKey: text("tenantId") });
    const identities = `${prefix}-TenantIdentity`;
    this.identities = this.table("Identities", identities, { partitionKey: text("apiKey") });
    this.queue = this.queueOf("Queue", `${prefix}-events`, KEPT);
    this.deadLetters = this.queueOf("DeadLetters", `${prefix}-events-dlq`, KEPT);
    const reason =
      "A redrive by SQS would hide an event whose row says that it is owed. The daemon sends to " +
      "the dead-letter queue itself, then marks the row (PROTOCOL, step 13).";
    for (const queue of [this.queue, this.deadLetters]) {
      Validations.of(queue).acknowledge({ id: "AwsSolutions-SQS3", reason });
    }
  }

  private table(id: string, tableName: string, shape: dynamodb.TableOptions): dynamodb.Table {
    return new dynamodb.Table(this, id, {
      ...shape,
      tableName,
      billingMode: dynamodb.BillingMode.PAY_PER_REQUEST,
      encryption: dynamodb.TableEncryption.AWS_MANAGED,
      pointInTimeRecoverySpecification: { pointInTimeRecoveryEnabled: true },
      deletionProtection: true,
      removalPolicy: RemovalPolicy.RETAIN,
    });
  }

  private index(
    indexName: string,
    partitionKey: dynamodb.Attribute,
    sortKey: dynamodb.Attribute,
  ): void {
    const projectionType = dynamodb.ProjectionType.KEYS_ONLY;
    this.events.addGlobalSecondaryIndex({ indexName, partitionKey, sortKey, projectionType });
  }

  private queueOf(id: string, queueName: string, retentionPeriod: Duration): sqs.Queue {
    return new sqs.Queue(this, id, {
      queueName,
      retentionPeriod,
      visibilityTimeout: VISIBILITY,
      receiveMessageWaitTime: LONG_POLL,
      encryption: sqs.QueueEncryption.SQS_MANAGED,
      enforceSSL: true,
      // A first deployment that is rolled back takes its own queues away again: they are empty.
      removalPolicy: RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE,
    });
  }
}

function text(name: string): dynamodb.Attribute {
  return { name, type: dynamodb.AttributeType.STRING };
}

function number(name: string): dynamodb.Attribute {
  return { name, type: dynamodb.AttributeType.NUMBER };
}
