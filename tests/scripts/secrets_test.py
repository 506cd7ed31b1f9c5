"""Each pattern of scripts/secrets fires, wherever the secret stands, and public ones do not."""

import gzip
import re
import tempfile
import unittest
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

from load import script

secrets = script("secrets")

# One for each alternative of the pattern, in its order; in parts, so that this file has none.
SAMPLES = (
    "-----BEGIN " + "EC PRIVATE KEY-----\n" + "MHcCAQEEIA" + "b4" * 8,
    "AI" + "za" + "Ab3-_" * 7,
    "glpat" + "-" + "a" * 20,
    "AKIA" + "A2" * 8,
    "gh" + "s_" + "a1" * 18,
    "github_" + "pat_" + "a1" * 20,
    "xo" + "xb-" + "1a-" * 7,
    "rk" + "_live_" + "a1" * 8,
    "np" + "m_" + "a1" * 18,
    "pypi" + "-" + "a1_-" * 13,
    "phk" + "_" + "a1b2c3d" * 7,
    "whsec" + "_" + "A+/1" * 6,
    "ey" + "J" + "a1" * 5 + ".ey" + "J" + "a1" * 5 + ".",
)


def said(data):
    return list(secrets.findings("x", data))


def quietly(arguments):
    with redirect_stdout(StringIO()):
        return secrets.main(arguments)


class Secrets(unittest.TestCase):
    def test_every_pattern_has_its_sample(self):
        flat = re.sub(rb"\[[^\]]*\]|\(\?:[^()]*\)", b"", secrets.PATTERNS.pattern)
        self.assertEqual(flat.count(b"|") + 1, len(SAMPLES))

    def test_each_is_found_in_text_and_in_a_program(self):
        for sample in SAMPLES:
            for before, after in (("", "\n"), ("key = '", "'\n"), ("\0\1\2", "\0\xff")):
                data = before.encode() + sample.encode() + after.encode("latin-1")
                self.assertEqual(len(said(data)), 1, (sample[:8], before))

    def test_a_finding_does_not_give_the_secret_away(self):
        for sample in SAMPLES:
            self.assertNotIn(sample[:14], said(sample.encode() + b"\n")[0])

    def test_public_and_short_ones_are_left_alone(self):
        for name in secrets.TIDY.PUBLIC_SECRETS:
            self.assertEqual(said(name.encode() + b"\n"), [])
        self.assertEqual(said(b"-----BEGIN " + b"PRIVATE KEY-----\0expected PEM\n phk_ whsec_ AKIA npm_install"), [])

    def test_a_compressed_file_and_a_folder_are_opened(self):
        with tempfile.TemporaryDirectory() as place:
            below = Path(place) / "a" / "b"
            below.mkdir(parents=True)
            (below / "page.gz").write_bytes(gzip.compress(SAMPLES[3].encode()))
            self.assertEqual(quietly([place]), 1)
            (below / "page.gz").write_bytes(gzip.compress(b"nothing"))
            self.assertEqual(quietly([place]), 0)


if __name__ == "__main__":
    unittest.main()
