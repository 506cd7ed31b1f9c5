#!/usr/bin/env python3
"""scripts/deploy as far as it goes without AWS: what is missing is named at once, and a dry run shows everything."""

import os
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

TOP = Path(__file__).parent.parent.parent
LIMIT_S = 120
BAD_CONFIG = 78
# Settings and credentials of whoever runs the tests.
OURS = ("PREFIX", "HOSTED_ZONE_", "ADMIN_KEY_", "ALARM_", "INSTANCE", "AWS_", "POSTHASTE_DIST", "CDK_")
# In the place of Node.js: plays `cdk`, whose commands it writes down, and fails in one of them; passes on the rest.
STAND_IN = """#!/bin/sh
case $1 in */cdk) ;; *) exec "{node}" "$@" ;; esac
shift
echo "$*" >>"{calls}"
case " $* " in
*" {failing} "*) echo "cdk: no" >&2; exit 3 ;;
*" list "*) echo acme-network; echo acme-app ;;
esac
"""


class Deploy(unittest.TestCase):
    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.env_file = self.folder / "env"

    def deploy(self, *arguments, **more):
        environment = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
        return subprocess.run(
            [TOP / "scripts" / "deploy", *arguments],
            env={**environment, "HOME": str(self.folder), "POSTHASTE_ENV_FILE": str(self.env_file), **more},
            capture_output=True, text=True, timeout=LIMIT_S,
        )  # fmt: skip

    def with_cdk(self, failing, *arguments, **more):
        """The same with a stand-in for cdk; also gives the commands that it was called with."""
        calls, stand_in = self.folder / "calls", self.folder / "bin" / "node"
        calls.write_text("")
        stand_in.parent.mkdir(exist_ok=True)
        stand_in.write_text(STAND_IN.format(node=shutil.which("node"), calls=calls, failing=failing))
        stand_in.chmod(0o755)
        found = self.deploy(*arguments, PATH=f"{stand_in.parent}:{os.environ['PATH']}", **more)
        return found, calls.read_text()

    def test_everything_that_is_missing_is_named_before_anything_is_built(self):
        self.env_file.write_text("HOSTED_ZONE_URL=example.com\n")
        for arguments in ([], ["--dry-run"]):
            found = self.deploy(*arguments)
            self.assertEqual(found.returncode, BAD_CONFIG, found.stderr)
            for name in ("PREFIX", "HOSTED_ZONE_ID"):
                self.assertIn(f"{name} is missing", found.stderr)
            self.assertNotIn("Compiling", found.stdout + found.stderr)
        self.assertEqual(self.env_file.read_text(), "HOSTED_ZONE_URL=example.com\n")

    def test_a_dry_run_shows_everything_and_changes_nothing(self):
        self.env_file.write_text("PREFIX=acme\n")
        found = self.deploy("--dry-run")
        text = found.stdout + found.stderr
        self.assertEqual(found.returncode, 0, text)
        self.assertIn("no credentials", text)
        for line in ("[+] AWS::EC2::VPC", "[+] AWS::DynamoDB::Table", "[+] AWS::AutoScaling::AutoScalingGroup"):
            self.assertIn(line, text)
        self.assertEqual(self.env_file.read_text(), "PREFIX=acme\n")

    def test_a_dry_run_that_fails_ends_there(self):
        self.env_file.write_text("PREFIX=acme\n")
        ways = [("synth", {}), ("list", {}), ("diff", {}), ("diff", {"AWS_PROFILE": "nobody"})]
        for failing, credentials in ways:
            with self.subTest(failing=failing, **credentials):
                found, calls = self.with_cdk(failing, "--dry-run", **credentials)
                self.assertEqual(found.returncode, 3, found.stdout + found.stderr)
                self.assertIn(failing, calls.splitlines()[-1])
                self.assertNotIn("deploy", calls)
        self.assertEqual(self.env_file.read_text(), "PREFIX=acme\n")

    def test_the_hash_of_a_new_admin_key_has_a_line_of_its_own(self):
        for before in ("PREFIX=acme", "PREFIX=acme\n", "ADMIN_KEY_SHA256=\nPREFIX=acme"):
            with self.subTest(before=before):
                self.env_file.write_text(before)
                found, calls = self.with_cdk("nothing", "--no-build", "--profile", "x")
                self.assertEqual(found.returncode, 0, found.stdout + found.stderr)
                self.assertEqual(calls, "deploy --all --profile x\n")
                after = self.env_file.read_text()
                self.assertRegex(after, rf"^{before.rstrip()}\nADMIN_KEY_SHA256=[0-9a-f]{{64}}\n$")
                # And is found there by the next one.
                found, _ = self.with_cdk("nothing", "--no-build")
                self.assertNotIn("is shown this once", found.stdout + found.stderr)
                self.assertEqual(self.env_file.read_text(), after)


if __name__ == "__main__":
    unittest.main()
