"""The documentation pages work without any network: a headless browser in a network namespace with nothing but
loopback loads each of them from the real binary, and every operation of the schema can be read on it.

    pages.py PATH-OF-POSTHASTE [unittest's own arguments]

POSTHASTE_SCREENSHOTS=folder keeps a picture of each page.
Ends with status 77 (skipped) where there is no browser or no right to make a network namespace.
"""

import base64
import os
import socket
import sys
import unittest
import urllib.parse
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from browser import Browser, find  # noqa: E402
from namespace import bring_loopback_up, enter_namespace  # noqa: E402
from posthaste import Daemon  # noqa: E402

# Each page with the schema that it shows.
PAGES = {
    "/v1/docs": "/v1/openapi.json",
    "/v1/redoc": "/v1/openapi.json",
    "/receiver/docs": "/receiver/openapi.json",
    "/receiver/redoc": "/receiver/openapi.json",
}

METHODS = ("get", "post", "put", "patch", "delete")


class Pages(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        bring_loopback_up()
        cls.daemon = cls.enterClassContext(Daemon(BINARY))
        cls.browser = cls.enterClassContext(Browser(find()))

    def test_nothing_but_loopback_can_be_reached(self):
        self.assertEqual([name for _, name in socket.if_nameindex()], ["lo"])
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outside, self.assertRaises(OSError):
            # Documentation's own address (RFC 5737): there is no route, so nothing is sent.
            outside.connect(("192.0.2.1", 80))

    def test_every_operation_can_be_read_on_every_page(self):
        for path, schema in PAGES.items():
            with self.subTest(path):
                wanted = self.operations(schema)
                page = self.browser.open(f"http://{self.daemon.api}{path}")
                page.wait_for_text(wanted)
                self.assertEqual(page.complaints(), [])
                self.assert_all_served_by_us(page)
                self.keep_picture(path, page)

    def test_a_page_that_needs_the_network_would_be_noticed(self):
        page = self.browser.open("data:text/html,<img src='http://192.0.2.1/logo.svg'><p>loaded</p>")
        page.wait_for_text(["loaded"])
        self.assertTrue(page.complaints())
        with self.assertRaises(AssertionError):
            self.assert_all_served_by_us(page)

    def operations(self, schema):
        """The paths of a schema that has operations; each must be somewhere on its pages."""
        document = self.daemon.client().json("GET", schema)
        self.assertRegex(document["openapi"], r"^3\.")
        paths = [path for path, item in document["paths"].items() if any(method in item for method in METHODS)]
        self.assertGreaterEqual(len(paths), 3, schema)
        return [*paths, document["info"]["title"]]

    def assert_all_served_by_us(self, page):
        self.assertTrue(page.requests())
        for url in page.requests():
            parts = urllib.parse.urlsplit(url)
            if parts.scheme not in ("data", "blob"):
                self.assertEqual(parts.netloc, self.daemon.api, url)

    def keep_picture(self, path, page):
        if folder := os.environ.get("POSTHASTE_SCREENSHOTS"):
            target = Path(folder) / (path.strip("/").replace("/", "-") + ".png")
            target.write_bytes(base64.b64decode(page.screenshot()))


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: pages.py PATH-OF-POSTHASTE")
    if not find():
        print("skipped: no Chromium here; scripts/setup installs it where it may")
        sys.exit(77)
    if not enter_namespace():
        print("skipped: no network namespace can be made here, neither as root nor as a user")
        sys.exit(77)
    BINARY = sys.argv.pop(1)
    unittest.main()
