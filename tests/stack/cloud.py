"""An AWS on this machine: ministack, and the synthesized stacks in it.

The templates go in as they were synthesized. Of the app only the architecture of the functions is changed, because
their code is built for this machine. Of the network one thing is left out that ministack does not know and nothing
depends on: the flow log.

Every call is held against the policies of whoever makes it, those of the queues too. They refuse what comes without TLS,
so calls go through a door that says that they came with it, as a load balancer does.
"""

import http.client
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path

import botocore.config
import botocore.session

ACCOUNT = "123456789012"
REGION = "us-east-1"
# What ministack takes for the account of a caller: an access key of twelve digits.
KEYS = {"aws_access_key_id": ACCOUNT, "aws_secret_access_key": "none"}

# Where CDK puts code and templates.
BUCKET = f"cdk-hnb659fds-assets-{ACCOUNT}-{REGION}"

START_S = 30
DEPLOY_S = 120
PAUSE_S = 0.05

# Ends with its parent, even where that is killed; then what the package's own command does.
MINISTACK = """
import ctypes, signal
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
from ministack.app import main
main()
"""

# ministack does not know it, and nothing depends on it.
UNKNOWN = {"AWS::EC2::FlowLog"}


# Actions of SQS, by which AWS allows the call for one message and the call for many.
BATCHES = ("sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:SendMessage")


RESERVED = []


def free_port():
    """A port that the kernel gives to nobody else while this process lives. Who names it may listen there, because the
    socket that keeps it does not, and both allow that the address is used again."""
    kept = socket.socket()
    kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    kept.bind(("127.0.0.1", 0))
    RESERVED.append(kept)
    return kept.getsockname()[1]


def until(what, wanted, seconds):
    """Waits until `wanted()` is true, and returns what it is then."""
    end = time.monotonic() + seconds
    while True:
        found = wanted()
        if found:
            return found
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {seconds} s")
        # None of what is waited for tells by itself.
        time.sleep(PAUSE_S)


class Door(ThreadingHTTPServer):
    """Passes every request on, and says that it came by TLS."""

    daemon_threads = True

    def __init__(self, port):
        super().__init__(("127.0.0.1", 0), Passing)
        self.to = port
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def close(self):
        self.shutdown()
        self.server_close()


class Passing(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle_one_request(self):
        # Whoever hangs up in the middle, as a process that is killed, wants no answer.
        try:
            super().handle_one_request()
        except OSError:
            self.close_connection = True

    def pass_on(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        connection = http.client.HTTPConnection("127.0.0.1", self.server.to)
        try:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in (*self.headers.items(), ("X-Forwarded-Proto", "https")):
                connection.putheader(name, value)
            connection.endheaders(body)
            response = connection.getresponse()
            answer = response.read()
        finally:
            connection.close()
        self.send_response_only(response.status, response.reason)
        for name, value in response.getheaders():
            if name.lower() not in ("connection", "content-length", "transfer-encoding"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer)

    do_DELETE = do_GET = do_HEAD = do_PATCH = do_POST = do_PUT = pass_on

    def log_message(self, *_):
        pass


class Cloud:
    """ministack in a process of its own, which ends with this one."""

    def __init__(self, folder):
        self.port = free_port()
        self._door = Door(self.port)
        self.url = self._door.url
        self.log = folder / "ministack.log"
        self._session = botocore.session.get_session()
        self._home = Path(tempfile.mkdtemp(dir=folder))
        environment = {
            "HOME": str(self._home),
            "PATH": "/usr/bin:/bin",
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(self.port),
            "MINISTACK_ACCOUNT_ID": ACCOUNT,
            # Every call is held against the policies of whoever makes it.
            "AUTH": "true",
            # Where functions find AWS.
            "AWS_ENDPOINT_URL": self.url,
            # Where it unpacks their code.
            "TMPDIR": str(self._home),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", MINISTACK],
                env=environment, cwd=self._home, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        until("ministack listens", self._listens, START_S)
        self._bootstrap()

    def _listens(self):
        if self._process.poll() is not None:
            raise RuntimeError(f"ministack ended:\n{self.log.read_text(errors='replace')}")
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def _bootstrap(self):
        """What `cdk bootstrap` leaves in an account, as far as a template asks for it."""
        self.client("ssm").put_parameter(Name="/cdk-bootstrap/hnb659fds/version", Type="String", Value="30")
        self.client("s3").create_bucket(Bucket=BUCKET)

    def close(self):
        self._door.close()
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._home, ignore_errors=True)

    def tail(self):
        """Prints the end of the log, in which the functions' own lines are too."""
        for line in self.log.read_text(errors="replace").splitlines()[-20:]:
            print(f"           cloud: {line}")

    def client(self, service):
        # A test wants the first answer, not the one after some tries.
        config = botocore.config.Config(retries={"total_max_attempts": 1}, parameter_validation=False)
        return self._session.create_client(
            service, region_name=REGION, endpoint_url=self.url, config=config, **KEYS
        )

    def environment(self, role):
        """What a process needs in its environment to take this for AWS, and to have a role there. Whom the role trusts
        is changed first: an instance gets its credentials from EC2, which is not here."""
        trust = {
            "Version": "2012-10-17",
            "Statement": [
                {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}}
            ],
        }
        self.client("iam").update_assume_role_policy(RoleName=role, PolicyDocument=json.dumps(trust))
        arn = f"arn:aws:iam::{ACCOUNT}:role/{role}"
        got = self.client("sts").assume_role(RoleArn=arn, RoleSessionName="instance")["Credentials"]
        return {
            "AWS_ACCESS_KEY_ID": got["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": got["SecretAccessKey"],
            "AWS_SESSION_TOKEN": got["SessionToken"],
            "AWS_REGION": REGION,
        }

    def deploy(self, assembly, stack):
        """Makes a stack of a synthesized template; its outputs by name."""
        self._publish(assembly, stack)
        template = json.loads((assembly / f"{stack}.template.json").read_text())
        template["Resources"] = {
            id: resource for id, resource in template["Resources"].items() if resource["Type"] not in UNKNOWN
        }
        for resource in template["Resources"].values():
            if resource["Type"] == "AWS::Lambda::Function":
                resource["Properties"]["Architectures"] = ["x86_64"]
        cloud_formation = self.client("cloudformation")
        key = f"{stack}.template.json"
        self.client("s3").put_object(Bucket=BUCKET, Key=key, Body=json.dumps(template).encode())
        cloud_formation.create_stack(
            StackName=stack,
            TemplateURL=f"{self.url}/{BUCKET}/{key}",
            Capabilities=["CAPABILITY_NAMED_IAM"],
        )

        def described():
            return cloud_formation.describe_stacks(StackName=stack)["Stacks"][0]

        def ended():
            return not described()["StackStatus"].endswith("IN_PROGRESS")

        until(f"the stack {stack} is made", ended, DEPLOY_S)
        made = described()
        if made["StackStatus"] != "CREATE_COMPLETE":
            events = cloud_formation.describe_stack_events(StackName=stack)["StackEvents"]
            reasons = [
                f"{event['LogicalResourceId']}: {event['ResourceStatusReason']}"
                for event in events
                if event.get("ResourceStatusReason")
            ]
            raise RuntimeError(f"{stack} is {made['StackStatus']}:\n" + "\n".join(reasons))
        return {output["OutputKey"]: output["OutputValue"] for output in made.get("Outputs", [])}

    def translate_rights(self, stack):
        """Gives each role of a stack the rights that it has once more, in ministack's words. For calls with many entries
        it goes by the name of the call, where AWS goes by what an entry does."""
        iam = self.client("iam")
        for role in self._roles(stack):
            name = role["PhysicalResourceId"]
            for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]:
                document = iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]
                translated = [found for one in document["Statement"] for found in translations(one)]
                if translated:
                    document = json.dumps({"Version": "2012-10-17", "Statement": translated})
                    iam.put_role_policy(RoleName=name, PolicyName=f"{policy}-translated", PolicyDocument=document)

    def _roles(self, stack):
        listed = self.client("cloudformation").describe_stack_resources(StackName=stack)["StackResources"]
        return [one for one in listed if one["ResourceType"] == "AWS::IAM::Role"]

    def role(self, stack, logical_id):
        """The name of the one role whose logical id begins so."""
        (found,) = (one for one in self._roles(stack) if one["LogicalResourceId"].startswith(logical_id))
        return found["PhysicalResourceId"]

    def _publish(self, assembly, stack):
        """Puts the assets of a stack into the bucket that its template names."""
        s3 = self.client("s3")
        manifest = json.loads((assembly / f"{stack}.assets.json").read_text())
        for asset in manifest["files"].values():
            source = assembly / asset["source"]["path"]
            if asset["source"]["packaging"] == "zip":
                body = zipped(source)
            else:
                body = source.read_bytes()
            for destination in asset["destinations"].values():
                s3.put_object(Bucket=BUCKET, Key=destination["objectKey"], Body=body)


def translations(statement):
    """A statement in ministack's words, where it has others."""
    actions = statement["Action"]
    for action in [actions] if isinstance(actions, str) else actions:
        if action in BATCHES:
            yield statement | {"Action": f"{action}Batch"}
        if action.startswith("dynamodb:PartiQL"):
            # It looks for no table in a statement.
            yield {"Effect": "Allow", "Action": "dynamodb:BatchExecuteStatement", "Resource": "*"}


def zipped(folder):
    """A folder as Lambda takes it."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(folder))
    return buffer.getvalue()
