"""Counts retries whose lease has ended and that nobody has taken over, and says so to CloudWatch.

Runs once a minute. What it prints is in CloudWatch's embedded metric format, which becomes a metric
without a further call or right. It reads keys of the index `work` and nothing else, and writes
nothing. A daemon could count too, but only what it knows itself; the rows that matter are those of
a daemon that is gone.

A row is past due GRACE_S after its lease has ended: a living fleet sweeps every 15 to 30 seconds.
"""

import json
import os
import time

import botocore.session

PARTITIONS = 64
GRACE_S = 120
NAMESPACE = "Posthaste"


def past_due(client, table, now_ms):
    """How many rows are past due, and for how many seconds the oldest has been. Of each partition
    one page is counted, some thousands of rows: beyond it the number only has to be large."""
    count, oldest = 0, None
    for partition in range(PARTITIONS):
        page = client.query(
            TableName=table,
            IndexName="work",
            KeyConditionExpression="wk = :wk AND due < :due",
            ProjectionExpression="due",
            ExpressionAttributeValues={
                ":wk": {"N": str(partition)},
                ":due": {"N": str(now_ms - GRACE_S * 1000)},
            },
        )
        rows = page["Items"]
        count += len(rows)
        if rows:
            first = int(rows[0]["due"]["N"])
            oldest = first if oldest is None else min(oldest, first)
    return count, 0 if oldest is None else (now_ms - oldest) // 1000


def metric(prefix, count, oldest_s, now_ms):
    """One line of the embedded metric format."""
    metrics = [
        {"Name": "PastDueRetries", "Unit": "Count"},
        {"Name": "OldestPastDueSeconds", "Unit": "Seconds"},
    ]
    described = {"Namespace": NAMESPACE, "Dimensions": [["Prefix"]], "Metrics": metrics}
    return {
        "_aws": {"Timestamp": now_ms, "CloudWatchMetrics": [described]},
        "Prefix": prefix,
        "PastDueRetries": count,
        "OldestPastDueSeconds": oldest_s,
    }


def handler(_event, _context):
    client = botocore.session.get_session().create_client(
        "dynamodb", endpoint_url=os.environ.get("AWS_ENDPOINT_URL_DYNAMODB")
    )
    now_ms = int(time.time() * 1000)
    count, oldest_s = past_due(client, os.environ["EVENTS_TABLE"], now_ms)
    line = metric(os.environ["PREFIX"], count, oldest_s, now_ms)
    print(json.dumps(line))
    return line
