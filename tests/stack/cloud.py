"""An AWS on this machine: ministack, and the synthesized stacks in it.

The templates go in as they were synthesized. Of the app only the architecture of the functions is
changed, because their code is built for this machine. Of the network two things are left out that
ministack does not know and nothing depends on: the flow log and its role.
"""

import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import zipfile
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


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


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


class Cloud:
    """ministack in a process of its own, which ends with this one."""

    def __init__(self, folder):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "ministack.log"
        self._session = botocore.session.get_session()
        self._home = Path(tempfile.mkdtemp(dir=folder))
        environment = {
            "HOME": str(self._home),
            "PATH": "/usr/bin:/bin",
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(self.port),
            "MINISTACK_ACCOUNT_ID": ACCOUNT,
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

    def environment(self):
        """What a process needs in its environment to take this for AWS."""
        return {
            "AWS_ACCESS_KEY_ID": ACCOUNT,
            "AWS_SECRET_ACCESS_KEY": "none",
            "AWS_REGION": REGION,
            "AWS_ENDPOINT_URL": self.url,
        }

    def deploy(self, assembly, stack, name):
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
            StackName=name,
            TemplateURL=f"{self.url}/{BUCKET}/{key}",
            Capabilities=["CAPABILITY_NAMED_IAM"],
        )

        def described():
            return cloud_formation.describe_stacks(StackName=name)["Stacks"][0]

        def ended():
            return not described()["StackStatus"].endswith("IN_PROGRESS")

        until(f"the stack {name} is made", ended, DEPLOY_S)
        made = described()
        if made["StackStatus"] != "CREATE_COMPLETE":
            events = cloud_formation.describe_stack_events(StackName=name)["StackEvents"]
            reasons = [
                f"{event['LogicalResourceId']}: {event['ResourceStatusReason']}"
                for event in events
                if event.get("ResourceStatusReason")
            ]
            raise RuntimeError(f"{name} is {made['StackStatus']}:\n" + "\n".join(reasons))
        return {output["OutputKey"]: output["OutputValue"] for output in made.get("Outputs", [])}

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


def zipped(folder):
    """A folder as Lambda takes it."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(folder))
    return buffer.getvalue()
