"""AWS mode, with the functions and a daemon on a simulated AWS: what is told and where things lie (promise 24 of docs/SEMANTICS.md), and a
key that another process revokes (row 26).

    cloud.py [PATH-OF-POSTHASTE [FOLDER-OF-THE-FUNCTIONS]]

The folder, target/debug by default, has the functions, examples/gateway and loadgen. Ends with status 77 (skipped) where
they or botocore are not there.
"""

import json
import os
import secrets
import sys
import time
from argparse import Namespace
from contextlib import ExitStack
from pathlib import Path

from canaries import LOUDEST, Told, files, forms
from common import DEBUG_BINARY, HERE, LONG, SKIPPED, Proof, eventually, must, note, run, skip
from posthaste import Api, Sink
from tenants import DESTRUCTIVE, READING, Caller, Scene, control_of_matrix, matrix

sys.path.insert(0, str(HERE.parent / "api"))
from conformance import lambda_fleet  # noqa: E402

try:
    import botocore.session
except ModuleNotFoundError:
    botocore = None

FOLDER = Path(sys.argv[2]) if len(sys.argv) > 2 else DEBUG_BINARY.parent
NEEDED = ("loadgen", "authorizer", "ingest", "receiver", "requeue", "examples/gateway")
CACHE_S = 2.0
# Beyond the cache's time there is only a request that was under way, and what a busy machine adds.
LATE_S = 0.5 if LONG else 5.0
REVOCATIONS = 30 if LONG else 2
# At `trace` the SDK logs requests whole, so it is not for an operator whose logs others read.
SDK = "aws_smithy_runtime=debug,aws_smithy_runtime_api=trace,aws_sigv4=trace,aws_config=trace,aws_runtime=trace"
TABLES = ("Events", "TenantIdentity", "TenantWebhookConfig")


class Cloud:
    """Everything that lies in AWS: {place: text}."""

    def __init__(self, url):
        session = botocore.session.Session()
        self.dynamodb, self.sqs = (
            session.create_client(service, endpoint_url=url, region_name="us-east-1") for service in ("dynamodb", "sqs")
        )

    def contents(self):
        told = Told()
        for table in TABLES:
            for page in self.dynamodb.get_paginator("scan").paginate(TableName=f"posthaste-{table}"):
                told.add(table, json.dumps(page["Items"], default=repr))
        for queue in ("events", "events-dlq"):
            url = self.sqs.get_queue_url(QueueName=f"posthaste-{queue}")["QueueUrl"]
            while messages := self.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
                told.add(queue, "\n".join(message["Body"] for message in messages))
        return told


class Front:
    """The gateway, in the place of a process that serves the API itself."""

    def __init__(self, place):
        self.api, self.admin, self.admin_key = place.hooks, place.daemon.admin, place.admin_key

    def client(self, key=None):
        return Api(self.api, key)

    def operator(self):
        return self.client(self.admin_key)

    def tenant(self, name, target, **fields):
        asked = {"tenant_id": name, "target_url": target, **fields}
        made = self.operator().json("POST", "/v1/tenants", asked, expect=201)
        return {**made, "client": self.client(made["api_key"])}


class FleetScene(Scene):
    documents = ("/v1/openapi.json",)
    # The authorizer denies a key that is none, and refuses what cannot be one.
    shut = (401, 403)
    nowhere = (401,)


def tenant(front, sink, marks):
    target = sink.url(f"/{marks['path']}?token={marks['query']}")
    options = {"headers": {"X-Own": marks["header"]}}
    return front.tenant("marked", target, webhook_secret=marks["secret"], delivery=options)


def day(place, sink, acme, marks):
    """Deliveries that succeed, wait and die; refusals; the receiver."""
    client, path = acme["client"], f"/{marks['path']}?token={marks['query']}"
    status = lambda id: client.json("GET", f"/v1/events/{id}")["event"]["status"]  # noqa: E731
    for answer, wanted in (200, "DELIVERED"), (410, "DLQ"), (500, "FAILED"):
        sink.answers[path] = [answer]
        body = json.dumps({"note": marks["payload"]}).encode()
        event = client.json("POST", "/v1/events", body, expect=201)["event_id"]
        eventually(f"{event} is {wanted}", lambda: status(event) == wanted)  # noqa: B023
    client.request("POST", "/v1/events", marks["payload"].encode())
    client.request("PATCH", "/v1/tenants/marked", json.dumps({"target_url": f"ftp://{marks['path']}/"}).encode())
    client.request("GET", "/v1/admin/dlq/messages")
    Api(place.daemon.admin).request("GET", "/readyz")


def told(place):
    daemon, found = place.daemon, Told()
    for path in ("/metrics", "/endpoints", "/readyz"):
        found.add(f"admin {path}", Api(daemon.admin).request("GET", path).body)
    found.add("log", "\n".join(daemon.lines))
    return found


# Where each may lie. (A payload travels in the message, a target is in its tenant's row, and in an event's.)
MAY_LIE = {
    "payload": {"Events", "events", "events-dlq"},
    "path": {"TenantWebhookConfig", "Events"},
    "query": {"TenantWebhookConfig", "Events"},
    "secret": {"TenantWebhookConfig"},
    "header": {"TenantWebhookConfig"},
    "aws": set(),
    "key": set(),
    "admin": set(),
}


def lies_where_it_may(place, marks, proof):
    found, lies = told(place), Cloud(place.aws).contents()
    disk = list(files(Path(place.daemon.folder.name) / "data"))
    for kind, mark in marks.items():
        proof.equal(found.search(mark), [], f"the {kind} is told")
        places = set(lies.search(mark))
        proof.check(places <= MAY_LIE[kind], f"the {kind} lies in {places}")
        # The disk is a cache of who is owed what.
        if kind != "payload":
            on_disk = [str(path) for path, content in disk if any(form in content for form in forms(mark))]
            proof.equal(on_disk, [], f"files with the {kind}")
    must(any("DEBUG" in line or "TRACE" in line for line in place.daemon.lines), "the log is not loud")
    must("Events" in lies.search(marks["payload"]), "a payload is not found where it lies")
    must(lies.search(marks["secret"]) == ["TenantWebhookConfig"], "a secret is not found where it lies")


def revoke(place, acme, proof):
    """Keys that a function ends are refused by the daemon's own API: one that reads, within the cache's time; one that
    destroys, at once, although it was read with a moment before. A third one lives."""
    client = acme["client"]
    made = [client.json("POST", "/v1/tenants/marked/keys", expect=201) for _ in range(3)]
    reading, sister = (Caller(place.daemon.api, it["api_key"], "marked", READING) for it in (made[0], made[2]))
    for caller in (reading, sister):
        caller.start()
    in_ = lambda it: any(status < 300 for _, status in list(it.seen))  # noqa: E731
    eventually("both are in", lambda: in_(reading) and in_(sister))
    Api(place.daemon.api, made[1]["api_key"]).json("GET", "/v1/events")
    for key in made[:2]:
        client.json("DELETE", f"/v1/tenants/marked/keys/{key['key_id']}")
    ended = time.monotonic()
    destroying = Caller(place.daemon.api, made[1]["api_key"], "marked", DESTRUCTIVE)
    destroying.start()
    refused = lambda it: bool(it.seen) and it.seen[-1][1] == 401  # noqa: E731
    eventually("both are refused", lambda: refused(reading) and refused(destroying))
    for caller in (reading, sister, destroying):
        caller.over.set()
        caller.join()
    took = max((began - ended for began, status in reading.seen if status < 300), default=0.0)
    proof.check(took <= CACHE_S + LATE_S, f"it got in {took:.2f} s after its end")
    late = destroying.let_in_after(ended)
    proof.count(len(destroying.seen), len(destroying.seen) - len(late), "let in where it destroys")
    client.json("DELETE", f"/v1/tenants/marked/keys/{made[2]['key_id']}")
    return took, len(sister.let_in_after(ended))


def main(binary):
    missing = [name for name in NEEDED if not (FOLDER / name).exists()]
    if missing or not botocore:
        skip(f"not here: {', '.join(missing) or 'botocore'}")
        sys.exit(SKIPPED)
    marks = {
        kind: f"cnry-{kind}-{secrets.token_hex(9)}" for kind in ("payload", "path", "query", "secret", "header", "aws")
    }
    os.environ["AWS_SECRET_ACCESS_KEY"] = marks["aws"]
    quiet, apart, stops = Proof(24), Proof(25), Proof(26)
    settings = {"log.level": f"{LOUDEST},{SDK}", "auth.cache": f"{CACHE_S:.0f}s"}
    with ExitStack() as stack:
        sink = stack.enter_context(Sink())
        place = stack.enter_context(lambda_fleet(Namespace(binary=binary, folder=FOLDER), **settings))
        acme = tenant(Front(place), sink, marks)
        marks |= {"key": acme["api_key"], "admin": place.admin_key}
        day(place, sink, acme, marks)
        matrix(scene := FleetScene(stack, Front(place)), apart)
        control_of_matrix(scene)
        found = [revoke(place, acme, stops) for _ in range(REVOCATIONS)]
        must(all(good for _, good in found), "a key that was not revoked is refused too")
        lies_where_it_may(place, marks, quiet)
        panics = [line for line in place.daemon.lines if "panic" in line.lower()]
        quiet.equal(panics, [], "panics")
    note(f"revoked keys read for {max(took for took, _ in found):.2f} s more at most, with a cache of {CACHE_S:.0f} s")
    yield quiet.say("payloads and secrets are found where they may lie")
    yield apart.say("a read with the wrong key on purpose, and a route without a row: noticed")
    yield stops.say(f"keys that were not revoked got in {sum(good for _, good in found)} times in the same moments")


if __name__ == "__main__":
    run(main)
