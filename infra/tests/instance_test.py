#!/usr/bin/env python3
"""The scripts of an instance, with stand-ins for what they call and a metadata service of ours.

    infra/tests/instance_test.py APP_TEMPLATE    the synthesized template, whose user data is run

What is run is the user data as it stands in the template: settings, files and install.sh together.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import unittest
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

DRAIN = Path(__file__).parent.parent / "instance" / "drain.sh"
AWS_CONF = DRAIN.parent.parent / "systemd" / "aws.conf"
STATE = "/latest/meta-data/autoscaling/target-lifecycle-state"
LIMIT_S = 30

# Says what it was called with, and fails where the environment says FAILS=<name>.
STAND_IN = """#!/bin/bash
name=${0##*/}
echo "$name $*" >>"$CALLS"
case $name in
findmnt) echo /dev/nvme0n1p1 ;;
lsblk) [ "$1" = -no ] && echo nvme0n1 || printf '%s\\n' "/dev/nvme0n1 disk" "/dev/nvme0n1p1 part" "$DISKS" ;;
blkid | mountpoint) exit 1 ;;
dpkg-deb) tar -C "$PACKAGE_FILES" -c . ;;
esac
[ "$name" != "${FAILS-}" ]
"""
TOOLS = "apt-get aws blkid dpkg-deb findmnt lsblk mkfs.ext4 mount mountpoint posthaste systemctl".split()


class Metadata(ThreadingHTTPServer):
    """The metadata service, version 2: nothing without a token. `states` are told one after the other; None is
    an error, and the last one stays."""

    def __init__(self, states=("InService",)):
        super().__init__(("127.0.0.1", 0), Page)
        self.states = list(states)
        self.asked = 0
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/latest"

    def page(self, path):
        if path == "/latest/meta-data/instance-id":
            return "i-0123456789"
        if path == STATE:
            self.asked += 1
            return self.states.pop(0) if len(self.states) > 1 else self.states[0]
        return None


class Page(BaseHTTPRequestHandler):
    def do_PUT(self):
        self.answer("a-token" if self.path == "/latest/api/token" else None)

    def do_GET(self):
        token = self.headers.get("X-aws-ec2-metadata-token") == "a-token"
        self.answer(self.server.page(self.path) if token else None)

    def answer(self, text):
        self.send_response(200 if text else 500)
        self.end_headers()
        self.wfile.write((text or "").encode())

    def log_message(self, *_):
        pass


def text_of(value):
    """What CloudFormation makes of a value, with made-up references."""
    if isinstance(value, str):
        return value
    ((kind, argument),) = value.items()
    if kind == "Fn::Join":
        return argument[0].join(map(text_of, argument[1]))
    if kind == "Ref":
        return {"AWS::Region": "us-east-1"}[argument]
    if kind == "Fn::Sub":
        return argument.replace("${AWS::AccountId}", "123456789012").replace("${AWS::Region}", "us-east-1")
    raise ValueError(f"what is {kind}?")


def user_data(template):
    resources = json.loads(Path(template).read_text())["Resources"].values()
    (launch,) = (one for one in resources if one["Type"] == "AWS::EC2::LaunchTemplate")
    return text_of(launch["Properties"]["LaunchTemplateData"]["UserData"]["Fn::Base64"])


class Instance(unittest.TestCase):
    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.calls = self.folder / "calls"
        self.calls.touch()
        tools = self.folder / "bin"
        tools.mkdir()
        for name in TOOLS:
            (tools / name).write_text(STAND_IN)
            (tools / name).chmod(0o755)
        self.root = self.folder / "root"
        for path in ("etc/systemd/system", "usr/local/sbin"):
            (self.root / path).mkdir(parents=True)
        # What the package brings.
        self.package = self.folder / "package"
        (self.package / "usr/share/posthaste").mkdir(parents=True)
        (self.package / "usr/share/posthaste/aws.conf").write_text(AWS_CONF.read_text())
        (self.root / "etc/fstab").write_text("LABEL=root / ext4 defaults 0 1\n")

    def run_script(self, script, metadata, **environment):
        found = subprocess.run(
            ["bash", str(script)],
            env={
                "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
                "CALLS": str(self.calls),
                "ROOT": str(self.root),
                "IMDS": metadata.url,
                "PACKAGE_FILES": str(self.package),
                "DISKS": "/dev/nvme1n1 disk",
                **environment,
            },
            capture_output=True, text=True, timeout=LIMIT_S,
        )  # fmt: skip
        self.addCleanup(metadata.server_close)
        return found, self.calls.read_text().splitlines()

    def boot(self, **environment):
        script = self.folder / "user-data"
        script.write_text(user_data(TEMPLATE))
        return self.run_script(script, Metadata(), **environment)

    def drain(self, metadata, **environment):
        fleet = {"REGION": "us-east-1", "GROUP": "acme-fleet", "HOOK": "drain", "EVERY_S": "0.01"}
        return self.run_script(DRAIN, metadata, **fleet, **environment)

    def file(self, path):
        return (self.root / path).read_text()

    def test_a_boot_ends_with_a_daemon_and_a_signal(self):
        found, calls = self.boot()
        self.assertEqual(found.returncode, 0, found.stderr)
        words = [" ".join(call.split()[:2]) for call in calls]
        order = [
            "mkfs.ext4 -q", "mount /var/lib/private/posthaste", "aws s3", "dpkg-deb --fsys-tarfile",
            "posthaste check", "systemctl enable", "systemctl start", "aws cloudformation",
        ]  # fmt: skip
        places = [words.index(word) for word in order]
        self.assertEqual(places, sorted(places), calls)
        self.assertIn("mkfs.ext4 -q -L posthaste /dev/nvme1n1", calls)
        self.assertIn("systemctl start posthaste.service", calls)
        self.assertEqual(words.count("aws cloudformation"), 1)
        self.assertRegex(
            calls[-1],
            "^aws cloudformation signal-resource --region us-east-1 --stack-name acme-app "
            "--logical-resource-id FleetGroup.* --unique-id i-0123456789 --status SUCCESS$",
        )

    def test_a_boot_leaves_what_must_come_back_after_a_reboot(self):
        self.boot()
        self.assertRegex(self.file("etc/fstab"), r"(?m)^LABEL=posthaste /var/lib/private/posthaste ext4 ")
        unit = self.file("etc/systemd/system/posthaste-drain.service")
        self.assertIn("Environment=REGION=us-east-1 GROUP=acme-fleet HOOK=drain\n", unit)
        script = self.root / "usr/local/sbin/posthaste-drain"
        self.assertEqual(script.read_text().strip(), DRAIN.read_text().strip())
        self.assertTrue(os.access(script, os.X_OK))

    def test_the_daemon_reaches_its_credentials(self):
        self.boot()
        drop_in = self.file("etc/systemd/system/posthaste.service.d/aws.conf")
        self.assertRegex(drop_in, r"(?m)^IPAddressAllow=.*\b169\.254\.169\.254\b")

    def test_the_configuration_names_this_instance(self):
        self.boot()
        config = self.file("etc/posthaste/posthaste.toml")
        for line in ('prefix = "acme"', 'region = "us-east-1"', 'instance = "i-0123456789"', "enabled = true"):
            self.assertIn(f"{line}\n", config)
        self.assertNotIn("$", config)

    def test_a_daemon_that_does_not_start_fails_the_boot(self):
        for what in ("systemctl", "posthaste", "mount"):
            self.calls.write_text("")
            found, calls = self.boot(FAILS=what)
            self.assertNotEqual(found.returncode, 0, what)
            self.assertTrue(calls[-1].endswith("--status FAILURE"), calls[-1])
            self.assertFalse(any(call.endswith("SUCCESS") for call in calls))

    def test_packages_are_asked_for_three_times_and_their_lock_is_waited_for(self):
        found, calls = self.boot(FAILS="apt-get", PAUSE_S="0")
        self.assertNotEqual(found.returncode, 0)
        self.assertEqual(calls, ["apt-get update -q -o DPkg::Lock::Timeout=120"] * 3)
        self.calls.write_text("")
        _, calls = self.boot()
        installs = [call for call in calls if call.startswith("apt-get install")]
        self.assertEqual(len(installs), 2)
        for call in installs:
            self.assertIn(" -o DPkg::Lock::Timeout=120 ", call)

    def test_a_disk_is_never_guessed(self):
        for disks in ("", "/dev/nvme1n1 disk\n/dev/nvme2n1 disk"):
            self.calls.write_text("")
            found, calls = self.boot(DISKS=disks)
            self.assertNotEqual(found.returncode, 0, disks)
            self.assertFalse(any(call.startswith("mkfs") for call in calls))

    def test_an_end_drains_and_tells_the_group(self):
        metadata = Metadata(["InService", None, "InService", "Terminated"])
        found, calls = self.drain(metadata)
        self.assertEqual(found.returncode, 0, found.stderr)
        self.assertEqual(metadata.asked, 4)
        self.assertEqual(
            calls,
            [
                "systemctl stop posthaste.service",
                "aws autoscaling complete-lifecycle-action --region us-east-1 "
                "--auto-scaling-group-name acme-fleet --lifecycle-hook-name drain "
                "--instance-id i-0123456789 --lifecycle-action-result CONTINUE",
            ],
        )

    def test_a_stop_that_fails_holds_no_group_up(self):
        found, calls = self.drain(Metadata(["Terminated"]), FAILS="systemctl")
        self.assertEqual(found.returncode, 0, found.stderr)
        self.assertTrue(calls[-1].endswith("CONTINUE"))


if __name__ == "__main__":
    TEMPLATE = sys.argv.pop(1)
    unittest.main()
