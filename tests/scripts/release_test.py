"""What scripts/release.sh sets keeps a folder out of a program; without it the folder is in."""

import os
import subprocess
import tempfile
import unittest
from hashlib import sha256
from pathlib import Path

from load import TOP

PROGRAM = 'fn main() { panic!("{}", std::env::args().count()) }\n'
# `say` and ROOT are scripts/lib.sh's.
ASK = 'say() { echo "$*"; }; . "$1/scripts/release.sh"; release_flags || exit 9; "${@:2}"'


def ask(root, *command, **environment):
    """Runs a command with the settings of a release build of the checkout `root`."""
    run = ["bash", "-c", ASK, "ask", str(TOP), *command]
    environment = os.environ | {"ROOT": str(root)} | environment
    return subprocess.run(run, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


class Release(unittest.TestCase):
    def setUp(self):
        place = tempfile.TemporaryDirectory()
        self.addCleanup(place.cleanup)
        self.place = Path(place.name)

    def built(self, folder, flags):
        """The digest of a small program, built in a folder, and whether it names the folder."""
        root = self.place / folder
        (root / "infra/deb").mkdir(parents=True, exist_ok=True)
        (root / "infra/deb/changelog").write_text(" -- A <a@b.c>  Thu, 26 Nov 2026 00:00:00 +0000\n", encoding="utf-8")
        (root / "main.rs").write_text(PROGRAM, encoding="utf-8")
        out = self.place / "out"
        done = ask(root, "bash", "-c", f'cd "$ROOT" && rustc -g {flags} -o {out} "$ROOT/main.rs"')
        self.assertEqual(done.returncode, 0, done.stdout)
        data = out.read_bytes()
        return sha256(data).hexdigest(), str(root).encode() in data

    def test_two_folders_make_the_same_bytes_and_without_the_flags_they_do_not(self):
        one, other = (self.built(folder, "$CARGO_BUILD_RUSTFLAGS") for folder in ("a", "another/one"))
        self.assertEqual(one, other)
        self.assertFalse(one[1])
        one, other = (self.built(folder, "") for folder in ("a", "another/one"))
        self.assertNotEqual(one[0], other[0])
        self.assertTrue(one[1])

    def test_flags_of_the_caller_do_not_get_in(self):
        done = ask(TOP, "env", RUSTFLAGS="-C target-cpu=native", CARGO_ENCODED_RUSTFLAGS="-g", CFLAGS="-O0")
        names = {line.partition("=")[0]: line.partition("=")[2] for line in done.stdout.splitlines()}
        self.assertNotIn("RUSTFLAGS", names)
        self.assertNotIn("CARGO_ENCODED_RUSTFLAGS", names)
        self.assertNotIn("-O0", names["CFLAGS"])

    def test_the_time_is_that_of_the_commit(self):
        done = ask(TOP, "printenv", "SOURCE_DATE_EPOCH")
        commit = subprocess.run(["git", "-C", TOP, "log", "-1", "--format=%ct"], stdout=subprocess.PIPE, text=True)
        self.assertEqual(done.stdout, commit.stdout)

    def test_without_a_repository_it_is_that_of_the_last_release(self):
        (self.place / "infra/deb").mkdir(parents=True)
        text = (TOP / "infra/deb/changelog").read_text(encoding="utf-8")
        (self.place / "infra/deb/changelog").write_text(text, encoding="utf-8")
        done = ask(self.place, "printenv", "SOURCE_DATE_EPOCH")
        self.assertRegex(done.stdout, r"^1[0-9]{9}\n$")
        self.assertEqual(int(done.stdout) % 86400, 0)

    def test_a_folder_with_a_blank_is_refused(self):
        done = ask(self.place / "a b", "true")
        self.assertEqual(done.returncode, 9)
        self.assertIn("no path with a blank", done.stdout)


if __name__ == "__main__":
    unittest.main()
