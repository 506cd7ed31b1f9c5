"""Other people's tester asks the real binary all that its OpenAPI documents offer, and more: schemathesis.

    conformance.py PATH-OF-POSTHASTE [--lambda FOLDER] [--examples N] [--seed N]

With --lambda it asks the Lambda fleet: the functions in FOLDER (such as target/debug) behind the gateway of
lambda/examples, which stands in for API Gateway, with a daemon on the same simulated AWS.

No answer is a 5xx, and none is undocumented: not its status, its content type, its headers or its shape. What breaks
the schema is refused, what follows it is never called misshapen, and without its key nothing opens. Every operation
must have said 2xx, too: an API that refuses everything conforms to anything.
First the control: answers are falsified on their way, and each kind of lie must be found by its own check.
Ends with status 77 (skipped) where schemathesis is not installed.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import namedtuple
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.request import urlopen

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))
from posthaste import PATIENCE_S, Api, Daemon, Sink, eventually  # noqa: E402

ST = Path(sys.executable).with_name("st")
SKIPPED = 77

# Bounds a run that hangs.
RUN_S_MAX = 3600

# What the tenant's endpoint answers, over and over: most events are delivered, some die at once, some wait for a retry.
ANSWERS = [200, 410, 200, 500, 200]
RETRY_DELAY = "1h"

# Lies: (method, path that is asked, what the answer is turned into, the check that must find it).
# The last one is told only to who has no key.
LIES = {
    "GET /v1/events": ("status", 500, "not_a_server_error"),
    "GET /v1/tenants/{tenant_id}": ("status", 418, "status_code_conformance"),
    "GET /v1/tenants/{tenant_id}/keys": ("body", b'{"keys":[{"key_id":1}]}', "response_schema_conformance"),
    "GET /v1/admin/dlq/messages": ("type", "text/plain", "content_type_conformance"),
    "POST /v1/admin/dlq/requeue": ("status", 200, "negative_data_rejection"),
    "POST /v1/tenants": ("status", 422, "positive_data_acceptance"),
    "POST /v1/admin/dlq/purge": ("status", 200, "ignored_auth"),
}


def schemathesis(url, world, arguments):
    """Runs it on one document; returns whether it is content, what it printed, and what it saw."""
    with tempfile.TemporaryDirectory(prefix="posthaste-api-") as folder:
        report = Path(folder) / "report.ndjson"
        command = [ST, "--config-file", HERE / "schemathesis.toml", "run", url, "--no-color"]
        command += ["--generation-database", "none", "--continue-on-failure", "--report-ndjson-path", report]
        environment = {**os.environ, **world, "SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(HERE)}
        run = subprocess.run(
            [*command, *arguments],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=RUN_S_MAX,
        )
        return run.returncode == 0, run.stdout, Seen(report)


class Seen:
    """What a run reports: {(operation, check)} that failed, and the operations that said 2xx."""

    def __init__(self, report):
        self.failed, self.worked = set(), set()
        for line in report.read_text().splitlines():
            scenario = json.loads(line).get("ScenarioFinished", {}).get("recorder", {})
            for checks in scenario.get("checks", {}).values():
                self.failed |= {
                    (check["failure_info"]["failure"]["operation"], check["name"])
                    for check in checks
                    if check["status"] == "failure"
                }
            for id, exchange in scenario.get("interactions", {}).items():
                if exchange["response"] and exchange["response"]["status_code"] // 100 == 2:
                    case = scenario["cases"][id]["value"]
                    self.worked.add(f"{case['method']} {case['path']}")


class Liar:
    """Passes requests on to the daemon, and falsifies what it answers to those of `LIES`; a context manager."""

    def __init__(self, address, tenant):
        lies = {name.format(tenant_id=tenant): lie for name, lie in LIES.items()}

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def pass_on(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                honest = HTTPConnection(address, timeout=PATIENCE_S)
                try:
                    sent = {name: value for name, value in self.headers.items() if name.lower() != "host"}
                    honest.request(self.command, self.path, body=body, headers=sent)
                    answer = honest.getresponse()
                    told = {"status": answer.status, "type": answer.headers["Content-Type"], "body": answer.read()}
                finally:
                    honest.close()
                what, value, _ = lies.get(f"{self.command} {self.path.split('?')[0]}", ("nothing", None, None))
                told[what] = value
                self.send_response(told["status"])
                self.send_header("Content-Type", told["type"])
                self.send_header("Content-Length", str(len(told["body"])))
                self.end_headers()
                self.wfile.write(told["body"])

            do_GET = do_POST = do_PATCH = do_DELETE = pass_on

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True

    def __enter__(self):
        Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return f"http://127.0.0.1:{self.server.server_port}"

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


# Something that is to keep to its documents: where the API is, the addresses of its document and the receiver's, the
# admin key, a daemon, and the address of AWS where there is one.
Place = namedtuple("Place", "hooks documents admin_key daemon aws")

SETTINGS = {"retry.delays": RETRY_DELAY}


@contextmanager
def standalone(asked):
    with Daemon(asked.binary, **SETTINGS) as daemon:
        documents = [f"http://{daemon.api}{path}" for path in ("/v1/openapi.json", "/receiver/openapi.json")]
        yield Place(daemon.api, documents, daemon.admin_key, daemon, None)


@contextmanager
def lambda_fleet(asked, **more):
    folder = Path(asked.folder).resolve()
    with ExitStack() as stack:
        simulator = stack.enter_context(Program([folder / "loadgen", "aws-sim", "--listen", "127.0.0.1:0"]))
        aws = simulator.says("aws-sim on ")
        os.environ.update(AWS_REGION="us-east-1", AWS_ACCESS_KEY_ID="123456789012")
        os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "test")
        gateway = [folder / "examples/gateway", folder, "--aws", aws, "--create"]
        # Functions look at addresses of targets too, and the test's are on loopback.
        networks = {"POSTHASTE_DELIVERY_ALLOW_NETWORKS": "127.0.0.0/8"}
        gateway = stack.enter_context(Program(gateway, **networks))
        hooks, receiver = gateway.says("listening on "), gateway.says("receiver on ")
        admin_key = gateway.says("admin key ")
        settings = {"aws.enabled": "true", "aws.sqs-endpoint": aws, "aws.dynamodb-endpoint": aws}
        daemon = stack.enter_context(Daemon(asked.binary, **{**SETTINGS, **settings, **more}))
        documents = [f"{hooks}/v1/openapi.json", f"{receiver}/openapi.json"]
        yield Place(hooks.removeprefix("http://"), documents, admin_key, daemon, aws)


class Program:
    """A child process that says where it listens; a context manager that ends it."""

    def __init__(self, command, **environment):
        self.command, self.environment, self.lines = command, environment, []

    def __enter__(self):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("POSTHASTE_")}
        self.process = subprocess.Popen(
            self.command, env={**environment, **self.environment}, stdout=subprocess.PIPE, text=True
        )
        Thread(target=lambda: self.lines.extend(iter(self.process.stdout.readline, "")), daemon=True).start()
        return self

    def says(self, before):
        """What it says after these words, up to the next space or semicolon."""

        def found():
            assert self.process.poll() is None, f"{self.command[0]} has ended: {self.lines}"
            return next((line.partition(before)[2] for line in self.lines if before in line), None)

        return eventually(f"{self.command[0].name} says {before!r}", found).split()[0].rstrip(";")

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def control(place, world):
    """Every lie is found."""
    path = place.documents[0].removeprefix(f"http://{place.hooks}")
    with Liar(place.hooks, world["TENANT"]) as url:
        content, output, seen = schemathesis(url + path, world, ["--phases", "examples,coverage"])
    missed = [f"{check} of {name}" for name, (_, _, check) in LIES.items() if (name, check) not in seen.failed]
    if content or missed:
        print(output)
        sys.exit(f"conformance: the control is not held: these would not be noticed: {missed}")
    print(f"conformance: the control is held: {len(LIES)} kinds of lies, each found")


def populate(tenant):
    """Events that stand everywhere: delivered, waiting, dead; more come during the run."""
    client = tenant["client"]
    for number, answer in enumerate(ANSWERS):
        event = client.json("POST", "/v1/events", {"number": number}, expect=201)["event_id"]
        wanted = {200: "DELIVERED", 410: "DLQ", 500: "FAILED"}[answer]
        status = lambda: client.json("GET", f"/v1/events/{event}")["event"]["status"]  # noqa: B023
        eventually(f"{event} is {wanted}", lambda: status() == wanted)  # noqa: B023


def operations(document):
    with urlopen(document, timeout=PATIENCE_S) as answer:
        paths = json.load(answer)["paths"]
    return {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}


def examine(place, sink, how):
    """Yields what is wrong, a line each."""
    operator = Api(place.hooks, place.admin_key)
    asked = {"tenant_id": "acme", "target_url": sink.url("/hook")}
    tenant = operator.json("POST", "/v1/tenants", asked, expect=201)
    populate({**tenant, "client": Api(place.hooks, tenant["api_key"])})
    world = {
        "TENANT": tenant["tenant_id"],
        "TENANT_KEY": tenant["api_key"],
        "ADMIN_KEY": place.admin_key,
        "WEBHOOK_SECRET": tenant["webhook_secret"],
        "TARGET_URL": asked["target_url"],
    }
    control(place, world)
    for document in place.documents:
        content, output, seen = schemathesis(document, world, how)
        print(output)
        if not content:
            yield f"the API does not keep to {document}"
        yield from (f"never said 2xx: {name}" for name in operations(document) - seen.worked)
    # Whatever was asked, it goes on.
    operator.json("GET", f"/v1/tenants/{world['TENANT']}")
    yield from (line for line in place.daemon.lines if "panic" in line.lower())


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary")
    parser.add_argument("--lambda", dest="folder", metavar="FOLDER")
    return parser


def main():
    parser = arguments()
    parser.add_argument("--examples", default="60", help="requests that are made up for an operation, and scenarios")
    parser.add_argument("--seed", default="17")
    asked = parser.parse_args()
    if not ST.exists():
        print("skipped: schemathesis is not here; scripts/setup installs it into .venv")
        sys.exit(SKIPPED)

    how = ["--max-examples", asked.examples, "--seed", asked.seed, "--output-sanitize", "false"]
    where = lambda_fleet if asked.folder else standalone
    with Sink() as sink, where(asked) as place:
        sink.answers["/hook"] = ANSWERS * 10_000
        faults = list(examine(place, sink, how))
    if faults:
        sys.exit("\n".join(f"conformance: {fault}" for fault in faults))


if __name__ == "__main__":
    main()
