#!/usr/bin/env python3
"""The whole stack on this machine: the synthesized templates in ministack, the real Lambdas behind API Gateway, the real
daemon on the same queue and tables.

    tests/stack/run.py BINARIES    the folder of posthaste, authorizer, ingest, receiver and requeue (target/release)

Each check is a step of one story, told in order; what each proves is said beside it. Functions and daemons have the roles of
the template, and every call that they make is held against its policies. Time is moved in the rows, where a lease would
have to run out for minutes. Needs Node and the packages of infra/ for the synthesis (scripts/setup).
Exit status: 0 when everything holds, 1 else, 77 with one line where something is not installed.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent.parent
SKIPPED = 77
FUNCTIONS = ("authorizer", "ingest", "receiver", "requeue")
PREFIX = "acme"
# Reserved for such uses, and yet a name of the public internet, as targets must have one.
ZONE = "example.com"

# Long enough to kill a daemon between two attempts, short enough to wait for five.
DELAYS = "2s"
SYNTHESIS_S = 120
# For what takes a delivery or some retries: the emulator needs a tenth of a second for each call of a function.
WAIT_S = 60

try:
    import botocore  # noqa: F401
    import ministack  # noqa: F401
except ImportError as missing:
    print(f"stack: {missing.name} is not here: run scripts/setup")
    sys.exit(SKIPPED)

sys.path.insert(0, str(TOP / "infra" / "tests"))

from cloud import Cloud, until  # noqa: E402
from instance_test import user_data  # noqa: E402
from machine import Api, Daemon, Names, Proxy, new_admin_key  # noqa: E402


class Stack:
    """Everything that is running, and the words to speak of it."""

    def __init__(self, folder, binaries):
        self.folder, self.binaries = folder, binaries
        self.daemons = []
        self.cloud = Cloud(folder)
        self.names = Names()
        self.proxy = Proxy(self.cloud.url, f"receiver.{ZONE}")
        self.admin_key, self.admin_hash = new_admin_key()
        self.api = Api(self.cloud, ZONE)
        self.keys = {}

    def close(self):
        for daemon in self.daemons:
            daemon.close()
        self.names.close()
        self.proxy.shutdown()
        self.proxy.server_close()
        self.cloud.close()

    def deploy(self):
        route53 = self.cloud.client("route53")
        zone = route53.create_hosted_zone(Name=ZONE, CallerReference="1")["HostedZone"]["Id"]
        assembly = self.folder / "assembly"
        app = TOP / "infra" / "build" / "bin" / "posthaste.js"
        subprocess.run(
            ["node", app],
            env={
                "PATH": os.environ["PATH"],
                "CDK_OUTDIR": str(assembly),
                "PREFIX": PREFIX,
                "HOSTED_ZONE_ID": zone.rsplit("/", 1)[-1],
                "HOSTED_ZONE_URL": ZONE,
                "ADMIN_KEY_SHA256": self.admin_hash,
                "POSTHASTE_DIST": str(self.dist()),
                "POSTHASTE_ENV_FILE": str(self.folder / "no-env-file"),
            },
            check=True, timeout=SYNTHESIS_S,
        )  # fmt: skip
        self.cloud.deploy(assembly, f"{PREFIX}-network")
        self.outputs = self.cloud.deploy(assembly, f"{PREFIX}-app")
        self.cloud.translate_rights(f"{PREFIX}-app")
        self.configure(assembly)

    def dist(self):
        """What scripts/deploy would have built, with binaries for this machine."""
        dist = self.folder / "dist"
        for name in FUNCTIONS:
            code = dist / "lambda" / name
            code.mkdir(parents=True)
            shutil.copy(self.binaries / name, code / "bootstrap")
            # A debugger's tables are most of a binary, and the emulator zips and copies all of it.
            if shutil.which("strip"):
                subprocess.run(["strip", code / "bootstrap"], check=True)
        (dist / "posthaste_0_arm64.deb").write_text("stands for the package\n")
        return dist

    def configure(self, assembly):
        """The daemon's configuration, as the user data of the launch template writes it; the name of the instance is
        that of each daemon here."""
        functions = user_data(assembly / f"{PREFIX}-app.template.json").rsplit("\nmain\n", 1)[0]
        script = f"{functions}\nINSTANCE=i-0\nposthaste_toml\n"
        made = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
        self.config = self.folder / "posthaste.toml"
        self.config.write_text(made.stdout)

    def daemon(self, name, delays):
        binary = self.binaries / "posthaste"
        role = self.cloud.role(f"{PREFIX}-app", "FleetRole")
        daemon = Daemon(binary, self.config, self.folder / name, self.cloud, role, self.names, delays)
        self.daemons.append(daemon)
        return daemon

    def target(self, tenant):
        """The receiver's address for a tenant, as the daemon reaches it."""
        return f"http://receiver.{ZONE}:{self.cloud.port}/{tenant}/webhook"

    def fragile_target(self, tenant):
        """The same through the proxy that is broken."""
        return f"http://proxy.{ZONE}:{self.proxy.port}/{tenant}/webhook"

    def tenant(self, name, target):
        body = {"tenant_id": name, "target_url": target}
        status, made = self.api("POST", "/v1/tenants", body, self.admin_key)
        expect(status, 201, made)
        self.keys[name] = made["api_key"]

    def post(self, tenant, payload, **headers):
        status, made = self.api("POST", "/v1/events", payload, self.keys[tenant], **headers)
        expect(status, 201, made)
        expect(made["status"], "PENDING")
        return made["event_id"]

    def event(self, tenant, event):
        status, found = self.api("GET", f"/v1/events/{event}", key=self.keys[tenant])
        expect(status, 200, found)
        return found["event"] | {"attempt_log": found.get("attempt_log") or found["event"].get("attempt_log")}

    def until_status(self, tenant, event, wanted):
        def is_there():
            found = self.event(tenant, event)
            return found if found["status"] == wanted else None

        return until(f"event of {tenant} is {wanted}", is_there, WAIT_S)

    def depth(self, output):
        """How many messages a queue has, shown and hidden."""
        sqs = self.cloud.client("sqs")
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = sqs.get_queue_attributes(QueueUrl=self.outputs[output], AttributeNames=names)
        return sum(int(found["Attributes"][name]) for name in names)

    def past_due(self):
        answer = self.cloud.client("lambda").invoke(FunctionName=f"{PREFIX}-past-due", Payload=b"{}")
        found = json.loads(answer["Payload"].read())
        return found["PastDueRetries"]

    def end_lease(self, tenant, event):
        """Writes the end of a row's lease into the past, as the passing of minutes would."""
        past = int(time.time() * 1000) - 24 * 60 * 60 * 1000
        self.cloud.client("dynamodb").update_item(
            TableName=self.outputs["EventsTable"],
            Key={"tenantId": {"S": tenant}, "eventId": {"S": event}},
            UpdateExpression="SET due = :due",
            ConditionExpression="attribute_exists(wk)",
            ExpressionAttributeValues={":due": {"N": str(past)}},
        )


def expect(found, wanted, about=None):
    if found != wanted:
        raise AssertionError(f"found is {found!r}, wanted {wanted!r}" + (f": {about!r}" if about else ""))


# The story, in order. Each step's first line is what it proves.


def the_daemon_finds_what_it_needs(stack):
    """Queues, tables and indexes of the template are those that the daemon works with (`posthaste check --env`)."""
    environment = stack.daemon("check", DELAYS).environment
    checked = subprocess.run(
        [stack.binaries / "posthaste", "check", "--env", "--config", stack.config],
        env=environment, capture_output=True, text=True,
    )  # fmt: skip
    expect(checked.returncode, 0, checked.stdout + checked.stderr)


def keys_are_asked_for(stack):
    """401 without a key, with another scheme, with a mistyped key; 403 with one that nobody has."""
    api = stack.api
    expect(api("GET", "/v1/events")[0], 401)
    expect(api("GET", "/v1/events", Authorization="Basic eHg6eHg=")[0], 401)
    expect(api("GET", "/v1/events", key="phk_mistyped")[0], 401)
    expect(api("GET", "/v1/events", key="nobody-has-this")[0], 403)
    status, refused = api("POST", "/v1/tenants", {"tenant_id": "eve", "target_url": "http://example.net/"})
    expect((status, list(refused)), (401, ["detail"]))
    expect(api("GET", "/v1/docs")[0], 200)
    expect(api("GET", "/v1/openapi.json")[0], 200)


def tenants_are_made_by_the_admin(stack):
    """The admin's key, of which only the hash was deployed, makes tenants; a tenant's key does not."""
    stack.tenant("acme", stack.target("acme"))
    stack.tenant("doomed", stack.fragile_target("doomed"))
    stack.tenant("later", stack.fragile_target("later"))
    body = {"tenant_id": "eve", "target_url": "http://example.net/"}
    expect(stack.api("POST", "/v1/tenants", body, stack.keys["acme"])[0], 403)
    expect(stack.api("GET", "/v1/tenants/doomed", key=stack.keys["acme"])[0], 403)
    expect(stack.api("GET", "/v1/tenants/acme", key=stack.keys["acme"])[0], 200)


def an_event_is_delivered_and_verified(stack):
    """Posted with a Bearer key, delivered by the daemon to the receiver, which accepts only what is signed for acme."""
    stack.first = stack.daemon("first", DELAYS).start()
    # Bytes that every step must leave alone: spaces, an escape, an umlaut, a number that no float holds.
    payload = '{ "n": 12345678901234567890, "text":"\\u00e4ö",  "a" : [ ] }'.encode()
    event = stack.post("acme", payload)
    found = stack.until_status("acme", event, "DELIVERED")
    expect(found["attempts"], 1)
    expect(found["attempt_log"][0]["status_code"], 200, found)
    until("the queue is empty", lambda: stack.depth("QueueUrl") == 0, WAIT_S)
    expect(stack.event("acme", event)["status"], "DELIVERED")
    expect(stack.api("GET", f"/v1/events/{event}", key=stack.keys["doomed"])[0], 404)


def a_key_makes_a_retry_safe(stack):
    """The same Idempotency-Key and body is the same event; another body is refused."""
    first = stack.post("acme", {"n": 1}, Idempotency_Key="one")
    expect(stack.post("acme", {"n": 1}, Idempotency_Key="one"), first)
    key = stack.keys["acme"]
    expect(stack.api("POST", "/v1/events", {"n": 2}, key, Idempotency_Key="one")[0], 409)
    stack.until_status("acme", first, "DELIVERED")


def a_signature_is_wanted(stack):
    """The receiver refuses what is not signed, and an unknown tenant in the same way."""
    for tenant in ("acme", "nobody"):
        signature = "t=1,v1=" + "0" * 64
        status, _ = stack.api(
            "POST", f"/{tenant}/webhook", {"n": 1}, host="receiver", Stripe_Signature=signature
        )
        expect(status, 401)


def a_failing_tenant_ends_in_the_dlq(stack):
    """Five attempts, then the row is DLQ and its message is in the DLQ's queue."""
    stack.dead = stack.post("doomed", {"n": 1})
    found = stack.until_status("doomed", stack.dead, "DLQ")
    expect(found["attempts"], 5)
    expect([attempt["status_code"] for attempt in found["attempt_log"]], [500] * 5)
    expect(stack.depth("DeadLetterQueueUrl"), 1)
    status, listed = stack.api("GET", "/v1/admin/dlq/messages", key=stack.keys["doomed"])
    expect(status, 200, listed)
    expect([message["body"]["eventId"] for message in listed["messages"]], [stack.dead])
    status, others = stack.api("GET", "/v1/admin/dlq/messages", key=stack.keys["acme"])
    expect((status, others["messages"]), (200, []))


def a_dead_letter_is_requeued(stack):
    """When the receiver is back, a fresh round delivers it; the DLQ's queue is empty again."""
    stack.proxy.is_broken = False
    status, requeued = stack.api("POST", "/v1/admin/dlq/requeue", {}, stack.keys["doomed"])
    expect((status, requeued), (200, {"requeued": 1, "failed": 0}))
    expect(stack.depth("DeadLetterQueueUrl"), 0)
    found = stack.until_status("doomed", stack.dead, "DELIVERED")
    expect([attempt["status_code"] for attempt in found["attempt_log"]], [500] * 5 + [200])
    expect(found["attempts"], 1)


def a_lost_daemon_is_swept_up(stack):
    """Killed with its disk while a retry waits: counted as past due, then taken over and delivered by another."""
    stack.proxy.is_broken = True
    event = stack.post("later", {"n": 1})
    stack.until_status("later", event, "FAILED")
    # Its message is gone by now, or will come back to a row that says what became of it.
    stack.first.lose()
    attempts = stack.event("later", event)["attempts"]
    expect(stack.past_due(), 0)
    stack.end_lease("later", event)
    expect(stack.past_due(), 1)
    stack.proxy.is_broken = False
    stack.another = stack.daemon("another", DELAYS).start()
    found = stack.until_status("later", event, "DELIVERED")
    expect(found["attempts"], attempts + 1)
    expect(stack.past_due(), 0)


def a_stop_is_clean(stack):
    """SIGTERM drains, and the daemon ends with status 0."""
    expect(stack.another.stop(), 0, stack.another.log())


def the_receiver_can_be_switched_off(stack):
    """By the admin only; a delivery gets 503 meanwhile."""

    def switch(path, key):
        return stack.api("POST", path, key=key, host="receiver")[0]

    expect(switch("/disable", None), 401)
    expect(switch("/disable", stack.keys["acme"]), 403)
    expect(switch("/disable", stack.admin_key), 200)
    expect(stack.api("POST", "/acme/webhook", {"n": 1}, host="receiver")[0], 503)
    status, state = stack.api("GET", "/status", host="receiver")
    expect((status, state["webhook_reception"]), (200, "disabled"))
    expect(switch("/enable", stack.admin_key), 200)
    expect(stack.api("GET", "/health", host="receiver")[0], 200)


STORY = (
    the_daemon_finds_what_it_needs,
    keys_are_asked_for,
    tenants_are_made_by_the_admin,
    an_event_is_delivered_and_verified,
    a_key_makes_a_retry_safe,
    a_signature_is_wanted,
    a_failing_tenant_ends_in_the_dlq,
    a_dead_letter_is_requeued,
    a_lost_daemon_is_swept_up,
    a_stop_is_clean,
    the_receiver_can_be_switched_off,
)


def tell(stack):
    """Runs the story; whether all of it holds. It ends at the first step that does not."""
    for step in STORY:
        begun = time.monotonic()
        try:
            step(stack)
        except Exception as error:  # noqa: BLE001: whatever goes wrong is what this is for
            print(f"   FAILED  {step.__name__}: {type(error).__name__}: {error}")
            for daemon in stack.daemons:
                daemon.tail()
            stack.cloud.tail()
            return False
        print(f"   ok      {step.__doc__.splitlines()[0]} ({time.monotonic() - begun:.1f} s)", flush=True)
    return True


def main():
    binaries = Path(sys.argv[1] if len(sys.argv) > 1 else TOP / "target" / "release").resolve()
    missing = [name for name in (*FUNCTIONS, "posthaste") if not (binaries / name).exists()]
    if missing:
        print(f"stack: not built in {binaries}: {', '.join(missing)}")
        return 1
    if not shutil.which("node") or not (TOP / "infra" / "node_modules").exists():
        print("stack: the packages of infra/ are not installed: run scripts/setup")
        return SKIPPED
    subprocess.run([TOP / "infra/node_modules/.bin/tsc", "--project", TOP / "infra"], check=True)
    with tempfile.TemporaryDirectory(prefix="posthaste-stack-") as folder:
        stack = Stack(Path(folder), binaries)
        try:
            begun = time.monotonic()
            stack.deploy()
            print(f"   ok      both stacks are deployed ({time.monotonic() - begun:.1f} s)", flush=True)
            return 0 if tell(stack) else 1
        finally:
            stack.close()


if __name__ == "__main__":
    sys.exit(main())
