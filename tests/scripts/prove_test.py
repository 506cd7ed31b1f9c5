"""scripts/prove says that a promise is held only where everything that holds it ran, passed, and held."""

import tempfile
import unittest
from pathlib import Path
from unittest import mock

from load import TOP, script

prove = script("prove")

PROMISE = {"row": 7, "promise": "p", "control": "c", "tests": ["a"], "controls": ["b"], "scripts": ["s"]}
JUNIT = """<testsuites><testsuite name="x">
<testcase name="one::a"><system-out>noise\nproof: 7 tried 10 held {held} control x\nproof: 8 tried 5 held 4</system-out></testcase>
<testcase name="two::b">{b}</testcase></testsuite></testsuites>"""


class Prove(unittest.TestCase):
    def verdict(self, held=10, b="", status=0, printed="proof: 7 tried 3 held 3\n", promise=PROMISE):
        run = prove.Run()
        with tempfile.TemporaryDirectory() as folder:
            junit = Path(folder, "junit.xml")
            junit.write_text(JUNIT.format(held=held, b=b))
            run.read_junit(junit)
            if status is not None:
                Path(folder, "s.txt").write_text(f"{status}\n{printed}")
            run.read_scripts(Path(folder))
        return prove.Verdict(promise, run)

    def test_what_ran_and_held_is_held(self):
        verdict = self.verdict()
        self.assertTrue(verdict.is_held)
        self.assertEqual((verdict.tried, verdict.held, verdict.word), (13, 13, "held"))

    def test_what_is_known_not_to_hold_is_told(self):
        verdict = self.verdict(promise={**PROMISE, "except": "on Sundays"})
        self.assertEqual((verdict.is_held, verdict.word), (True, "held, EXCEPT: on Sundays"))

    def test_what_counts_nothing_is_counted_by_its_tests(self):
        verdict = self.verdict(promise={**PROMISE, "row": 9}, printed="")
        self.assertEqual((verdict.tried, verdict.held), (3, 3))

    def test_one_that_did_not_hold_is_seen(self):
        self.assertFalse(self.verdict(held=9).is_held)

    def test_a_failed_control_is_seen(self):
        verdict = self.verdict(b="<failure/>")
        self.assertFalse(verdict.is_held)
        self.assertIn("b failed", verdict.word)

    def test_a_script_that_fails_is_seen(self):
        self.assertFalse(self.verdict(status=1).is_held)

    def test_what_failed_is_told_again_at_the_end(self):
        run = prove.Run()
        run.failures = ["one::b: thread panicked\n at x"]
        run.scripts = {
            "s": (1, "noise\n  not held: a 201 too many\nproof: 7 tried 3 held 2\n"),
            "t": (1, "a\nb\nc\nd\n"),
            "held": (0, "not held: is no fault of one that holds"),
            "skipped": (77, "not held: x"),
        }
        told = ["one::b: thread panicked at x", "s: not held: a 201 too many", "t: b", "t: c", "t: d"]
        self.assertEqual(list(run.faults()), told)

    def test_a_failed_test_keeps_its_words(self):
        run = prove.Run()
        with tempfile.TemporaryDirectory() as folder:
            junit = Path(folder, "junit.xml")
            junit.write_text(JUNIT.format(held=3, b='<failure message="left is not right" type="x"/>'))
            run.read_junit(junit)
        self.assertEqual(list(run.faults()), ["two::b: left is not right"])

    def test_what_did_not_run_is_seen(self):
        self.assertIn("NOT RUN: s", self.verdict(status=None).word)
        self.assertIn("NOT RUN: gone", self.verdict(promise={**PROMISE, "tests": ["a", "gone"]}).word)

    def test_what_cannot_run_here_is_told(self):
        self.assertEqual(self.verdict(status=77, printed="").word, "held (skipped here: s)")

    def test_nothing_but_skips_is_neither_held_nor_a_fault(self):
        verdict = self.verdict(status=77, printed="", promise={"row": 7, "promise": "p", "control": "c", "scripts": ["s"]})
        self.assertEqual((verdict.is_held, verdict.is_skipped), (False, True))

    def test_a_skip_within_is_told(self):
        words = "power: SKIPPED: no loop devices\nproof: 7 tried 3 held 3 control c\n"
        self.assertEqual(self.verdict(printed=words).word, "held (skipped here: a part of s)")
        later = words.replace("no loop devices", "only in the long form")
        self.assertEqual(self.verdict(printed=later).word, "held")

    def test_a_script_that_speaks_of_other_rows_only_was_not_tried(self):
        verdict = self.verdict(printed="proof: 8 tried 3 held 3 control c\n")
        self.assertEqual((verdict.tried, verdict.word), (10, "held (skipped here: s)"))

    def test_a_test_that_skips_counts_nothing(self):
        run = prove.Run()
        run.tests = {"a": [(True, "running\nSKIPPED: it takes root\n")], "b": [(True, "")]}
        verdict = prove.Verdict({**PROMISE, "scripts": []}, run)
        self.assertEqual((verdict.tried, verdict.word), (1, "held (skipped here: a)"))

    def test_a_promise_without_a_control_is_seen(self):
        run = prove.Run()
        run.tests = {"a": [(True, "proof: 7 tried 1 held 1\n")]}
        verdict = prove.Verdict({**PROMISE, "controls": [], "scripts": []}, run)
        self.assertIn("nothing showed that it can fail", verdict.word)

    def test_an_earlier_run_is_not_taken_for_this_one(self):
        for long in (False, True):
            with tempfile.TemporaryDirectory() as folder:
                left = [Path(folder, name) for name in ("short.xml", "long.xml")]
                for path in left:
                    path.write_text("<testsuites/>")
                with (
                    mock.patch.multiple(prove, JUNIT=left[0], LONG_JUNIT=left[1], RECORDS=Path(folder)),
                    mock.patch.object(prove.subprocess, "run"),
                    self.assertRaises(SystemExit),
                ):
                    prove.run_tests([PROMISE], long)

    def test_a_skip_of_a_part_is_no_control(self):
        promise = {**PROMISE, "tests": [], "controls": []}
        words = "power: SKIPPED: no loop devices\nproof: 7 tried 3 held 3\n"
        self.assertIn("nothing showed that it can fail", self.verdict(printed=words, promise=promise).word)

    def test_what_a_script_needs_can_be_built(self):
        scripts = prove.Table(prove.TABLE.read_text()).scripts
        self.assertLessEqual(set(prove.needed(scripts.values(), long=True)), set(prove.BUILDS))
        crash = [scripts["crash"], scripts["crash"]]
        self.assertEqual(prove.needed(crash, long=False), ["release"])
        # The load generator of the long form is no part of what is built without being named.
        self.assertEqual(prove.needed(crash, long=True), ["loadgen", "release"])

    def test_the_table_is_right(self):
        semantics = (TOP / "docs/SEMANTICS.md").read_text()
        self.assertEqual(list(prove.Table(prove.TABLE.read_text()).faults(semantics)), [])

    def test_faults_of_the_table_are_told(self):
        text = '[[promise]]\nrow = 2\npromise = "p"\nscripts = ["x"]\n'
        faults = list(prove.Table(text).faults("### 2. A\nNothing.\n"))
        self.assertEqual(len(faults), 4, faults)
        self.assertEqual(len(list(prove.Table(text).faults("### 3. A\n"))), 4)

    def test_an_exception_stands_in_both_places(self):
        text = '[[promise]]\nrow = 1\npromise = "p"\ncontrol = "c"\ntests = ["x"]\n'
        with_it, excepted = "### 1. A\nNot held: on Sundays. `x`\n", text + 'except = "on Sundays"\n'
        self.assertEqual(list(prove.Table(excepted).faults(with_it)), [])
        self.assertEqual(len(list(prove.Table(text).faults(with_it))), 1)
        self.assertEqual(len(list(prove.Table(excepted).faults("### 1. A\n`x`\n"))), 1)


if __name__ == "__main__":
    unittest.main()
