"""Each rule of scripts/tidy fires on what it is against, and only there."""

import unittest

from load import script

tidy = script("tidy")

HEADER = "//! What it is for.\n"


def said(path, text):
    return [what for _, what in tidy.findings(path, text)]


class Tidy(unittest.TestCase):
    def assert_clean(self, path, text):
        self.assertEqual(said(path, text), [])

    def assert_found(self, path, text, part, line=None):
        found = list(tidy.findings(path, text))
        self.assertEqual(len(found), 1, found)
        self.assertIn(part, found[0][1])
        if line:
            self.assertEqual(found[0][0], line)

    def test_clean_files_are_clean(self):
        self.assert_clean("crates/x/src/lib.rs", HEADER + "pub mod a;\n")
        self.assert_clean("docs/a.md", "# Title\n\nText.\n")
        self.assert_clean("scripts/a", "#!/bin/sh\ntrue\n")

    def test_a_rust_file_opens_with_what_it_is_for(self):
        self.assert_found("crates/x/src/lib.rs", "pub mod a;\n", "//!", line=1)
        self.assert_found("crates/x/tests/a.rs", "// no\n", "//!", line=1)

    def test_mod_rs_is_refused(self):
        self.assert_found("crates/x/src/a/mod.rs", HEADER, "mod.rs")
        self.assert_clean("crates/x/src/a/command.rs", HEADER)

    def test_a_file_has_at_most_600_lines_before_its_tests(self):
        full = HEADER + "// line\n" * 599
        tests = "#[cfg(test)]\nmod tests {\n" + "    // line\n" * 500 + "}\n"
        self.assert_clean("crates/x/src/a.rs", full + tests)
        self.assert_found("crates/x/src/a.rs", full + "// one more\n" + tests, "601 lines", line=601)
        self.assert_clean("crates/x/tests/a.rs", full + full)
        self.assert_clean("crates/x/src/a/tests.rs", full + full)

    def test_a_test_import_at_the_top_does_not_hide_the_rest(self):
        text = HEADER + "#[cfg(test)]\nuse a::b;\n" + "// line\n" * 600
        self.assert_found("crates/x/src/a.rs", text, "603 lines")

    def test_a_rust_line_has_at_most_100_columns(self):
        self.assert_clean("crates/x/src/a.rs", HEADER + "/" * 100 + "\n")
        self.assert_found("crates/x/src/a.rs", HEADER + "/" * 101 + "\n", "101 columns", line=2)
        self.assert_clean("crates/x/src/a.rs", HEADER + "// https://example.com/" + "a" * 100 + "\n")

    def test_unfinished_work_names_its_issue(self):
        for word in ("TO" + "DO", "FIX" + "ME"):
            self.assert_found("crates/x/src/a.rs", HEADER + f"// {word}: later\n", "issue", line=2)
            self.assert_found("scripts/a", f"# {word} later\n", "issue")
            self.assert_clean("crates/x/src/a.rs", HEADER + f"// {word}(#17): later\n")

    def test_white_space_at_the_end_of_a_line_is_refused(self):
        self.assert_found("docs/a.md", "# Title \n", "white space", line=1)
        self.assert_found("a.toml", "a = 1\t\n", "white space")
        self.assert_found("a.toml", "a = 1\r\n", "white space")

    def test_a_file_ends_with_a_line_end(self):
        self.assert_found("a.toml", "a = 1", "line end")

    def test_paths_of_one_machine_are_refused(self):
        for path in ("/wo" + "rk/main", "/ro" + "ot/.cargo", "../sha" + "red/docs"):
            self.assert_found("docs/a.md", f"# Title\n\nSee {path}.\n", "one machine", line=3)
            self.assert_found("crates/x/src/a.rs", HEADER + f'const A: &str = "{path}";\n', "one machine")
        self.assert_clean("docs/a.md", "# Title\n\nA /network/ and home/ro" + "ot/x and teamwork/s.\n")

    def test_markdown_has_a_title(self):
        self.assert_found("docs/a.md", "Text.\n", "title")
        self.assert_found("docs/a.md", "", "title")

    def test_secrets_are_found(self):
        for secret in (
            "-----BEGIN EC " + "PRIVATE KEY-----",
            "AKIA" + "Z" * 16,
            "ghp_" + "a" * 36,
            "xoxb-" + "1" * 24,
            "sk_live_" + "a" * 24,
            "npm_" + "a" * 36,
            "phk_" + "a" * 49,
            "whsec_" + "a" * 32,
            "eyJ" + "a" * 20 + ".eyJ" + "a" * 20 + ".c2ln",
        ):
            with self.subTest(secret[:8]):
                self.assert_found("crates/x/src/a.rs", HEADER + f'"{secret}"\n', "secret", line=2)
                # The finding does not print what it found.
                self.assertNotIn(secret, said("a.txt", secret + "\n")[0])

    def test_published_vectors_and_forms_are_no_secrets(self):
        for text in ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "phk_…", "whsec_<base64>", "AKIAIOSFODNN7EXAMPLE"):
            self.assert_clean("crates/x/src/a.rs", HEADER + f"// {text}\n")

    def test_words_behind_a_wall_stay_there(self):
        self.assert_found("crates/embedded/src/timers.rs", HEADER + "use bincode::Encode;\n", "codec")
        self.assert_clean("crates/embedded/src/codec.rs", HEADER + "use bincode::Encode;\n")
        self.assert_clean("crates/embedded/src/timers.rs", HEADER + "// bincode would do too.\n")
        self.assert_found("daemon/src/server.rs", HEADER + "use hyper::client::conn;\n", "delivery")
        self.assert_found("daemon/src/config.rs", HEADER + "use anyhow::Result;\n", "anyhow")

    def test_only_the_assembly_names_both_backends(self):
        both = HEADER + "use posthaste_aws::A;\nuse posthaste_embedded::B;\n"
        self.assert_found("daemon/src/shard.rs", both, "both backends")
        self.assert_clean("daemon/src/assemble.rs", both)
        self.assert_clean("daemon/src/shard.rs", HEADER + "use posthaste_embedded::B;\n")

    def test_foreign_files_are_left_alone(self):
        for name in ("crates/api/assets/redoc.js", "testdata/payloads/a.ndjson", "LICENSE-MIT", "Cargo.lock"):
            self.assertTrue(tidy.FOREIGN.search(name), name)
        for name in ("crates/api/src/assets.rs", "testdata.rs"):
            self.assertFalse(tidy.FOREIGN.search(name), name)


if __name__ == "__main__":
    unittest.main()
