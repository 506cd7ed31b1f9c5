"""Each kind of wrong waiver is seen, in each place where a waiver can stand."""

import unittest
from datetime import date

from load import TOP, script

waivers = script("waivers")

TODAY = date(2026, 11, 26)


def said(text, today=TODAY):
    return list(waivers.faults(text, today))


def ignored(reason):
    return f'[advisories]\nignore = [{{ id = "RUSTSEC-2025-0001", reason = "{reason}" }}]\n'


class Waivers(unittest.TestCase):
    def assert_found(self, text, *parts):
        found = said(text)
        self.assertEqual(len(found), len(parts), found)
        for line, part in zip(found, parts):
            self.assertIn(part, line)

    def test_one_with_date_and_reason_passes(self):
        self.assertEqual(said(ignored("2026-11-24: nobody calls the broken function")), [])

    def test_one_without_a_date_is_seen(self):
        self.assert_found(ignored("nobody calls the broken function"), "no date")
        self.assert_found(ignored("2026-13-45: nobody calls the broken function"), "no date")

    def test_one_without_a_reason_is_seen(self):
        self.assert_found(ignored("2026-11-24"), "no reason")
        self.assert_found(ignored("2026-11-24: ok"), "no reason")

    def test_one_with_nothing_is_seen(self):
        self.assert_found('[advisories]\nignore = ["RUSTSEC-2025-0001"]\n', "no date", "no reason")

    def test_it_lasts_180_days(self):
        text = ignored("2026-11-24: nobody calls the broken function")
        self.assertEqual(said(text, date(2027, 5, 23)), [])
        found = said(text, date(2027, 5, 24))
        self.assertEqual(len(found), 1)
        self.assertIn("181 days ago", found[0])

    def test_one_of_tomorrow_is_no_loophole(self):
        self.assert_found(ignored("2036-11-24: nobody calls the broken function"), "is not yet")

    def test_all_places_are_looked_at(self):
        text = """
[advisories]
ignore = [{ crate = "a" }]
[bans]
skip = [{ crate = "b" }]
skip-tree = [{ crate = "c" }]
[bans.build]
bypass = [{ crate = "d" }]
[licenses]
exceptions = [{ crate = "e", allow = ["MPL-2.0"] }]
[[licenses.clarify]]
crate = "f"
expression = "MIT"
[sources]
allow-git = ["https://example.com/g"]
allow-registry = ["https://example.com/h"]
"""
        names = [name for _, name, _ in waivers.waivers(text)]
        self.assertEqual(sorted(names), ["a", "b", "c", "d", "e", "f", "https://example.com/g", "https://example.com/h"])
        self.assertEqual(len(said(text)), 16)

    def test_the_comment_right_above_is_a_reason_too(self):
        entry = '[licenses]\nexceptions = [\n{}    {{ crate = "e", allow = ["MPL-2.0"] }},\n]\n'
        good = entry.format("    # 2026-11-24: its files are not changed by us,\n    # which is all that the licence asks.\n")
        self.assertEqual(said(good), [])
        self.assert_found(entry.format("    # 2026-11-24: of another entry altogether\n\n"), "no date", "no reason")

    def test_ours_are_found(self):
        text = (TOP / "deny.toml").read_text(encoding="utf-8")
        self.assertIn("RUSTSEC-2025-0141", [name for _, name, _ in waivers.waivers(text)])


if __name__ == "__main__":
    unittest.main()
