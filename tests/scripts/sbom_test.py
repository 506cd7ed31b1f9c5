"""Licences are read and chosen as they are meant, notices carry their words, and each fault of a bill is seen."""

import sys
import tempfile
import unittest
from pathlib import Path

from load import TOP, script

sbom = script("sbom")
sys.path.insert(0, str(TOP / "scripts"))
from supply import licences, programs  # noqa: E402  (found only then)

MIT = "MIT License\n\nCopyright (c) 2019 Somebody\n\nPermission is hereby granted, free of charge, to any person\n"
BSD = "Copyright 2020 Else\nRedistribution and use ...\nRedistributions of source code\nNeither the name of\n"
APACHE = "Apache License\nVersion 2.0, January 2004\n   Copyright [yyyy] [name of copyright owner]\n"


def crate(licence, folder, name="some"):
    return programs.Crate(
        key=f"{name}@1.0.0", name=name, version="1.0.0", linked=True, features=[], licence=licence, folder=folder,
        ours=False, checksum="00", repository=None, authors=["A. Author"], needs=[],
    )  # fmt: skip


def licenses_words(licence):
    return licences.paragraph(["some@1.0.0"], licence, ("Somebody",), ("the words of ISC",))


def bill(**scopes):
    components = [
        {"bom-ref": f"pkg:cargo/{name}@1.0.0", "name": name, "version": "1.0.0", "scope": scope,
         "licenses": [{"expression": "MIT"}]}
        for name, scope in scopes.items()
    ]  # fmt: skip
    root = {"bom-ref": "posthaste:posthaste@0.1.0", "name": "posthaste", "version": "0.1.0", "scope": "required",
            "licenses": [{"expression": "Apache-2.0 OR MIT"}]}  # fmt: skip
    return {"metadata": {"component": root}, "components": components}


class Licences(unittest.TestCase):
    def setUp(self):
        place = tempfile.TemporaryDirectory()
        self.addCleanup(place.cleanup)
        self.folder = Path(place.name)

    def notice(self, licence, **files):
        for name, text in files.items():
            (self.folder / name).write_text(text, encoding="utf-8")
        return licences.notice(crate(licence, self.folder))

    def test_expressions_are_read(self):
        for text, wanted in (
            ("MIT", [{"MIT"}]),
            ("MIT OR Apache-2.0", [{"MIT"}, {"Apache-2.0"}]),
            ("(MIT OR Apache-2.0) AND Unicode-3.0", [{"MIT", "Unicode-3.0"}, {"Apache-2.0", "Unicode-3.0"}]),
            ("A OR B AND C", [{"A"}, {"B", "C"}]),
            ("Apache-2.0 WITH LLVM-exception OR MIT", [{"Apache-2.0 WITH LLVM-exception"}, {"MIT"}]),
        ):
            self.assertEqual(licences.alternatives(text), [frozenset(one) for one in wanted], text)

    def test_what_is_no_expression_is_refused(self):
        for text in ("", "(MIT", "MIT)", "MIT OR", "AND MIT", "MIT Apache-2.0", "A WITH", "()"):
            with self.assertRaises(ValueError, msg=text):
                licences.alternatives(text)

    def test_the_choice_is_one_whose_text_is_there(self):
        found = self.notice("GPL-2.0-only OR BSD-3-Clause", LICENSE=BSD)
        self.assertEqual(found.chosen, ["BSD-3-Clause"])
        self.assertEqual(found.texts, (BSD.strip(),))

    def test_both_of_two_are_said(self):
        found = self.notice("MIT AND BSD-3-Clause", LICENSE=MIT, COPYING=BSD)
        self.assertEqual(found.texts, (BSD.strip(), MIT.strip()))
        self.assertEqual(found.copyrights, ("Copyright 2020 Else", "Copyright (c) 2019 Somebody"))

    def test_a_notice_file_travels_with_the_apache_license(self):
        found = self.notice("Apache-2.0", LICENSE=APACHE, NOTICE="made by us")
        self.assertEqual((found.chosen, found.texts), (["Apache-2.0"], ("made by us",)))
        self.assertEqual(found.copyrights, ("A. Author",))

    def test_without_a_text_or_a_licence_there_is_no_notice(self):
        for licence in ("GPL-3.0-only", "ISC", None):
            with self.assertRaises(licences.Missing, msg=licence):
                self.notice(licence, LICENSE=APACHE)

    def test_the_apache_license_is_named_and_not_repeated(self):
        whole = "   Apache License\n  Version 2.0, January 2004\nwords\nEND OF TERMS AND CONDITIONS\n\nAPPENDIX: How to apply\n"
        found = self.notice("MIT", LICENSE=MIT + whole + "and limitations under the License.\n\nnext")
        self.assertEqual(found.texts, (MIT + licences.APACHE + "\n\nnext",))

    def test_words_about_copyright_are_no_copyright(self):
        text = MIT + "The above copyright notice\ncopyright notice and this permission\nCOPYRIGHT HOLDERS BE LIABLE the\n"
        self.assertEqual(self.notice("MIT", LICENSE=text).copyrights, ("Copyright (c) 2019 Somebody",))

    def test_the_apache_license_is_named_by_its_place_beside_other_words(self):
        for licence in ("Apache-2.0 and ISC", "Apache-2.0 AND ISC"):
            self.assertIn("common-licenses/Apache-2.0", licenses_words(licence))

    def test_a_paragraph_is_as_debian_reads_it(self):
        text = licences.paragraph(["some@1.0.0"], "MIT", ("Copyright Somebody",), ("one\n\ntwo",))
        self.assertEqual(text, "Files: vendor/some-1.0.0/*\nCopyright: Copyright Somebody\nLicense: MIT\n one\n .\n two")


class Bills(unittest.TestCase):
    def assert_found(self, lines, *parts):
        lines = list(lines)
        self.assertEqual(len(lines), len(parts), lines)
        for line, part in zip(lines, parts):
            self.assertIn(part, line)

    def test_a_right_one_passes(self):
        plan = ({"posthaste@0.1.0", "a@1.0.0"}, {"b@1.0.0"})
        self.assert_found(sbom.wrong_list(bill(a="required", b="excluded"), plan))

    def test_too_much_and_too_little_are_seen(self):
        plan = ({"posthaste@0.1.0", "a@1.0.0"}, set())
        self.assert_found(sbom.wrong_list(bill(), plan), "a@1.0.0 is missing")
        self.assert_found(sbom.wrong_list(bill(a="required", b="excluded"), plan), "b@1.0.0 is in the bill (excluded)")
        found = sbom.wrong_list(bill(a="excluded"), plan)
        self.assert_found(found, "a@1.0.0 is missing from the bill (required)", "a@1.0.0 is in the bill (excluded)")

    def test_a_crate_in_the_binary_is_in_the_bill(self):
        with tempfile.NamedTemporaryFile() as binary:
            source = b"/cargo/registry/src/index.crates.io-19/"
            binary.write(b"\0" + source + b"a-1.0.0/src/lib.rs\0" + source + b"other-name-2.0.0+x\0/rust/deps/new-1.0.0/src\0")
            binary.flush()
            crates, standard = sbom.seen(binary.name)
        self.assertEqual((crates, standard), ({"a-1.0.0", "other-name-2.0.0+x"}, {"new"}))
        self.assert_found(sbom.wrong_binary(bill(a="required"), crates, standard), "other-name-2.0.0+x", "brings new")
        # One that only builds is not to be in it.
        self.assert_found(sbom.wrong_binary(bill(a="excluded"), {"a-1.0.0"}, set()), "a-1.0.0 is in the binary")

    def test_a_missing_licence_and_a_missing_notice_are_seen(self):
        text = "Files: vendor/a-1.0.0/*\n"
        self.assert_found(sbom.wrong_licences(bill(a="required", b="excluded"), text))
        self.assert_found(sbom.wrong_licences(bill(a="required"), ""), "a@1.0.0 has no notice")
        broken = bill(a="required")
        del broken["components"][0]["licenses"]
        self.assert_found(sbom.wrong_licences(broken, text), "a@1.0.0 has no licence")

    def test_jemalloc_is_named_with_its_author(self):
        self.assert_found(sbom.wrong_licences(bill(), "vendor/tikv-jemalloc-sys-0.7.1/*"), "jemalloc")

    def test_package_ids_are_read(self):
        for identity, key in (
            ("registry+https://github.com/rust-lang/crates.io-index#bytes@1.0.0", "bytes@1.0.0"),
            ("path+file:///somewhere/crates/domain#posthaste-domain@0.1.0", "posthaste-domain@0.1.0"),
            ("path+file:///somewhere/posthaste#0.1.0", "posthaste@0.1.0"),
        ):
            self.assertEqual(sbom.key_of(identity), key)


if __name__ == "__main__":
    unittest.main()
