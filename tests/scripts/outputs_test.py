"""Each fault of what was built for release is seen."""

import os
import shutil
import struct
import subprocess
import tempfile
import unittest
from pathlib import Path

from load import script

outputs = script("outputs")

# 2026-11-26 10:00 UTC.
BUILT = 1795687200
PLAN = (set(), set())


class Binaries(unittest.TestCase):
    def test_a_path_of_this_machine_is_seen(self):
        for data in (b"at /ho/me/src/x.rs\0", b"\0/ho/me/.cargo/registry/src\0"):
            self.assertEqual(len(list(outputs.wrong_paths(data, ["/ho/me"]))), 1)

    def test_other_paths_are_nobodys(self):
        self.assertEqual(list(outputs.wrong_paths(b"/posthaste/src /rustc/59/library /ho/men", ["/ho/me"])), [])

    def test_the_machine_says_its_own(self):
        paths = outputs.machine_paths()
        self.assertIn(str(outputs.TOP), paths)
        self.assertIn(str(Path.home()), paths)

    def test_the_time_of_a_build_is_seen_in_each_way(self):
        for text in (b"2026-11-26 10:12", b"2026-11-26T10:12", b"Nov 26 2026", b"Thu Nov 26 10:00", b"Thu, 26 Nov 2026 10:"):
            self.assertEqual(len(list(outputs.wrong_times(b"\0" + text + b"\0", BUILT, b""))), 1, text)

    def test_another_day_and_one_of_our_sources_are_no_build_times(self):
        self.assertEqual(list(outputs.wrong_times(b"2026-11-25 10:12 Nov 25 2026", BUILT, b"")), [])
        self.assertEqual(list(outputs.wrong_times(b"2026-11-26T10:12", BUILT, b'"at": "2026-11-26T10:12:00Z"')), [])

    def test_sections_are_read(self):
        names = b"\0.text\0.debug_info\0.shstrtab\0"
        program = bytearray(64) + names
        struct.pack_into("<Q", program, 0x28, len(program))
        struct.pack_into("<3H", program, 0x3A, 64, 4, 3)
        for name, place in ((0, 0), (1, 0), (7, 0), (19, 64)):
            header = struct.pack("<IIQQQQ", name, 1, 0, 0, place, len(names))
            program += header + bytes(64 - len(header))
        self.assertEqual(outputs.sections(bytes(program)), " text debug_info shstrtab")


@unittest.skipUnless(shutil.which("dpkg-deb"), "no dpkg here")
class Packages(unittest.TestCase):
    def setUp(self):
        place = tempfile.TemporaryDirectory()
        self.addCleanup(place.cleanup)
        self.place = Path(place.name)
        self.tree = self.place / "tree"
        (self.tree / "DEBIAN").mkdir(parents=True)
        control = "Package: a\nVersion: 1\nArchitecture: amd64\nMaintainer: A <a@example.com>\nDescription: a\n"
        (self.tree / "DEBIAN/control").write_text(control, encoding="utf-8")
        (self.tree / "usr/bin").mkdir(parents=True)
        # An ELF file without sections.
        (self.tree / "usr/bin/posthaste").write_bytes(bytes(0x28) + struct.pack("<Q", 64) + bytes(64))

    def faults(self, epoch=BUILT, commits=(BUILT,), paths=()):
        for path in (*self.tree.rglob("*"), self.tree):
            os.utime(path, (BUILT, BUILT))
        deb = self.place / "a_1_amd64.deb"
        command = ["dpkg-deb", "-Znone", "--root-owner-group", "--build", str(self.tree), str(deb)]
        environment = os.environ | {"SOURCE_DATE_EPOCH": str(epoch)}
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
        return list(outputs.wrong_package(deb, set(commits), list(paths), PLAN))

    def assert_found(self, found, *parts):
        # What the test's package never has.
        found = [fault for fault in found if "no bill" not in fault]
        self.assertEqual(len(found), len(parts), found)
        for fault, part in zip(found, parts):
            self.assertIn(part, fault)

    def test_one_time_on_everything_passes(self):
        self.assert_found(self.faults())

    def test_other_times_are_seen(self):
        self.assert_found(self.faults(epoch=BUILT + 60), "2 times")
        self.assert_found(self.faults(commits=[BUILT + 1]), "is that of no commit")

    def test_a_time_inside_of_gzip_is_seen(self):
        (self.tree / "usr/page.gz").write_bytes(b"\x1f\x8b\x08\0" + struct.pack("<I", BUILT) + b"\0\3")
        self.assert_found(self.faults(), "./usr/page.gz has a time inside")

    def test_a_path_in_a_member_is_seen(self):
        (self.tree / "usr/bin/other").write_bytes(b"\0/ho/me/x\0")
        self.assert_found(self.faults(paths=["/ho/me"]), "./usr/bin/other names a path")

    def test_a_package_without_its_bill_is_seen(self):
        self.assertIn("it has no bill of materials, or no notices", self.faults())


if __name__ == "__main__":
    unittest.main()
