"""Documents that people follow in an emergency lead somewhere: every link to a file or a heading of ours has its
target, and every alarm that `infra/` makes has its page."""

import re
import subprocess
import unittest

from load import TOP

LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)
ALARM = re.compile(r'^\s+name: "([a-z0-9-]+)",$', re.MULTILINE)


def documents():
    listed = subprocess.run(["git", "ls-files", "*.md"], cwd=TOP, stdout=subprocess.PIPE, text=True, check=True)
    return [TOP / name for name in listed.stdout.splitlines() if (TOP / name).exists()]


def anchors(text):
    """The names of a document's headings, as GitHub makes them."""
    fences = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in HEADING.findall(fences)}


def broken(document, text):
    """Yields the links of a document that lead nowhere."""
    for link in LINK.findall(CODE.sub("", text)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        if not target.exists():
            yield link
        elif anchor and target.suffix == ".md" and anchor not in anchors(target.read_text()):
            yield link


class Documents(unittest.TestCase):
    def test_links_have_targets(self):
        found = [f"{doc.relative_to(TOP)}: {link}" for doc in documents() for link in broken(doc, doc.read_text())]
        self.assertEqual(found, [])

    def test_a_link_to_nothing_is_found(self):
        document = TOP / "docs/OPERATIONS.md"
        text = "[a](#no-such-heading) [b](nowhere.md) [c](DEPLOY.md#no-such) [d](DEPLOY.md#deploy) `[e](code.md)`"
        self.assertEqual(list(broken(document, text)), ["#no-such-heading", "nowhere.md", "DEPLOY.md#no-such"])

    def test_every_alarm_has_its_page_and_no_page_is_left_over(self):
        alarms = set(ALARM.findall((TOP / "infra/lib/alarms.ts").read_text()))
        pages = {name for name in anchors((TOP / "docs/OPERATIONS.md").read_text()) if name.startswith("alarm-")}
        self.assertGreater(len(alarms), 5)
        self.assertEqual({f"alarm-{name}" for name in alarms}, pages)


if __name__ == "__main__":
    unittest.main()
