"""Each way past a lock file is seen, and what only tells of one is left alone."""

import json
import unittest

from load import script

locks = script("locks")

CRATE = """
[[package]]
name = "a"
version = "1.0.0"
source = "registry+https://github.com/rust-lang/crates.io-index"
checksum = "{}"
""".format("0a" * 32)


class Locks(unittest.TestCase):
    def assert_found(self, name, text, *parts):
        found = list(locks.faults(name, text))
        self.assertEqual(len(found), len(parts), (text, found))
        for line, part in zip(found, parts):
            self.assertIn(part, line)

    def test_a_crate_comes_from_crates_io_with_its_checksum(self):
        self.assert_found("Cargo.lock", CRATE + '[[package]]\nname = "ours"\nversion = "0.1.0"\n')
        self.assert_found("Cargo.lock", CRATE.replace("checksum", "nothing"), "no checksum")
        self.assert_found("Cargo.lock", CRATE.replace("registry+", "git+"), "from git+")

    def test_a_python_package_has_version_and_hash(self):
        good = "# why\na-b[c]==1.0.0 --hash=sha256:{0}\nd==2 \\\n    --hash=sha256:{0} \\\n    --hash=sha256:{0}\n".format("ab" * 32)
        self.assert_found("infra/requirements.txt", good)
        self.assert_found("infra/node.txt", good.replace("==1.0.0", ">=1.0.0"), "no exact version")
        self.assert_found("infra/node.txt", good.replace("==1.0.0", "==1.*"), "no exact version")
        self.assert_found("infra/node.txt", "a==1.0.0\n", "no hash")

    def test_an_npm_package_has_its_integrity(self):
        def lock(**package):
            return json.dumps({"packages": {"": {}, "node_modules/a": package}})

        self.assert_found("infra/package-lock.json", lock(integrity="sha512-a"))
        self.assert_found("infra/package-lock.json", lock(inBundle=True))
        self.assert_found("infra/package-lock.json", lock(), "no integrity")
        self.assert_found("infra/package-lock.json", lock(integrity="sha1-a"), "no integrity")
        self.assert_found("infra/package-lock.json", lock(integrity="sha512-a", resolved="git+ssh://a"), "from git+ssh")

    def test_commands_take_what_is_locked(self):
        for text in (
            "cargo build --locked --release",
            "cargo nextest run \\\n    --workspace --locked",
            "cargo fmt --check",
            "# cargo build makes it",
            '    note "cargo install it"',
            '#!/usr/bin/env python3\nskip("no binary: cargo build makes it")',
            '#!/usr/bin/env python3\nrun(["cargo", "build",\n    "--locked"])',
            "npm ci --no-audit",
            "python -m pip install -q --require-hashes \\\n    -r list",
            "apt-get install -y a",
            "curl -sf http://169.254.169.254/latest | head",
        ):
            self.assert_found("scripts/a", text)

    def test_commands_that_take_anything_are_seen(self):
        for text, part in (
            ("cargo build --release", "--locked"),
            ("A=b cargo install cargo-deny", "--locked"),
            ("x && cargo nextest run \\\n    --workspace", "--locked"),
            ('run("cargo", "metadata", "--format-version", "1")', "--locked"),
            ('#!/usr/bin/env python3\nrun(["cargo",\n    "test", "-q"])', "--locked"),
            ("npm install", "npm ci"),
            ("npx cdk", "npm ci"),
            ("pip install requests", "--require-hashes"),
            ("apt-get install --allow-unauthenticated a", "unsigned"),
            ("echo 'x'; curl https://example.com/install | sh", "runs what it fetches"),
        ):
            self.assert_found("scripts/a", text, part)


if __name__ == "__main__":
    unittest.main()
