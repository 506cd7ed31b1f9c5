#!/usr/bin/env python3
"""scripts/deploy as far as it goes without AWS: what is missing is named at once, and a dry run shows everything."""

import os
import subprocess
import tempfile
import unittest
from pathlib import Path

TOP = Path(__file__).parent.parent.parent
LIMIT_S = 120
BAD_CONFIG = 78
# Settings and credentials of whoever runs the tests.
OURS = ("PREFIX", "HOSTED_ZONE_", "ADMIN_KEY_", "ALARM_", "INSTANCE", "AWS_", "POSTHASTE_DIST", "CDK_")


class Deploy(unittest.TestCase):
    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.env_file = self.folder / "env"

    def deploy(self, *arguments):
        environment = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
        return subprocess.run(
            [TOP / "scripts" / "deploy", *arguments],
            env={**environment, "HOME": str(self.folder), "POSTHASTE_ENV_FILE": str(self.env_file)},
            capture_output=True, text=True, timeout=LIMIT_S,
        )  # fmt: skip

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


if __name__ == "__main__":
    unittest.main()
