"""The reader of the README notices a command that does not do what it says."""

import os
import sys
import unittest

from load import TOP

sys.path.insert(0, str(TOP / "tests/readme"))
import commands  # noqa: E402

# 49 characters, so that it has the form of a key without being one.
KEY = "phk_" + "0" * 49


def block(text, directive=""):
    return f"{f'<!-- test: {directive} -->' if directive else ''}\n```sh\n{text}\n```\n"


class Readme(unittest.TestCase):
    def follow(self, *parts):
        return commands.follow("# Title\n\n" + "\n".join(parts), dict(os.environ))

    def assert_fails(self, *parts):
        with self.assertRaises(commands.Failure), open(os.devnull, "w") as nowhere:
            stdout, sys.stdout = sys.stdout, nowhere
            try:
                self.follow(*parts)
            finally:
                sys.stdout = stdout

    def test_what_one_block_sets_the_next_one_has(self):
        self.assertEqual(self.follow(block("a=1"), block("echo a is $a", "expect a is 1")), 2)

    def test_any_command_of_a_block_that_fails_is_noticed(self):
        self.assert_fails(block("false\ntrue"))
        self.assert_fails(block("false | cat"))
        self.assert_fails(block("echo $never_set"))

    def test_what_is_not_printed_is_noticed(self):
        self.assert_fails(block("echo no", "expect yes"))

    def test_a_block_is_run_again_until_it_prints_what_it_should(self):
        self.assertEqual(self.follow(block("n=0"), block("n=$((n + 1)); echo n=$n", "until n=3")), 2)

    def test_a_directive_is_for_the_next_block_only(self):
        text = "<!-- test: skip no -->\n\nProse between.\n" + block("a=1") + block("b=2", "skip no") + "```text\nx\n```\n"
        self.assertEqual([found.does for found in commands.blocks(text)], ["run", "skip"])

    def test_a_server_runs_until_the_end_and_gives_its_key(self):
        serve = f"trap 'exit 0' INT; echo {KEY}; echo ' api http://127.0.0.1:1'; while true; do sleep 0.1; done"
        self.assertEqual(self.follow(block(serve, "serve"), block("echo $ADMIN", f"expect {KEY}")), 2)

    def test_a_program_that_fails_at_ctrl_c_is_noticed(self):
        stays = "trap 'exit {}' INT; echo ready; while true; do sleep 0.1; done"
        self.assertEqual(self.follow(block(stays.format(0), "stop ready")), 1)
        self.assert_fails(block(stays.format(3), "stop ready"))
        self.assert_fails(block("echo other", "stop ready"))


if __name__ == "__main__":
    unittest.main()
