"""A headless Chromium, driven over a pipe with the DevTools protocol. Standard library only.

Records what a page asked for, what failed to load and what it complained about.
"""

import itertools
import json
import os
import shutil
import subprocess
import tempfile
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from children import goes_with_us  # noqa: E402

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

# Starting takes seconds on a busy machine.
PATIENCE_S = 60.0
POLL_S = 0.1

FLAGS = (
    "--headless",
    "--remote-debugging-pipe",
    # Its own sandbox does not work for root; the pages are ours, and the caller cut the network off.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
    "--window-size=1280,1600",
)


def find():
    """The path of a browser on this machine, or none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """A running browser; a context manager that ends it."""

    def __init__(self, path):
        self.path = path
        self.ids = itertools.count(1)
        self.answers, self.events = {}, []
        self.arrived = threading.Condition()

    def __enter__(self):
        self.profile = tempfile.TemporaryDirectory(prefix="posthaste-browser-", ignore_cleanup_errors=True)
        to_browser, self.out = os.pipe()
        self.inlet, from_browser = os.pipe()

        def place():
            # The browser reads commands at descriptor 3 and writes answers at 4. Copies first: the pipe's own numbers
            # may be 3 and 4 the other way round.
            reads, writes = os.dup(to_browser), os.dup(from_browser)
            os.dup2(reads, 3)
            os.dup2(writes, 4)
            goes_with_us()

        command = [self.path, *FLAGS, f"--user-data-dir={self.profile.name}", "about:blank"]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=place,
            pass_fds=(3, 4),
        )
        os.close(to_browser)
        os.close(from_browser)
        threading.Thread(target=self._read, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self.out)
        self.profile.cleanup()

    def _read(self):
        with open(self.inlet, "rb") as inlet:
            buffered = b""
            while chunk := inlet.read1(1 << 16):
                *messages, buffered = (buffered + chunk).split(b"\0")
                with self.arrived:
                    for message in map(json.loads, messages):
                        if "id" in message:
                            self.answers[message["id"]] = message
                        else:
                            self.events.append(message)
                    self.arrived.notify_all()

    def call(self, method, session=None, **params):
        id = next(self.ids)
        command = {"id": id, "method": method, "params": params, **({"sessionId": session} if session else {})}
        os.write(self.out, json.dumps(command).encode() + b"\0")
        with self.arrived:
            if not self.arrived.wait_for(lambda: id in self.answers, PATIENCE_S):
                raise AssertionError(f"the browser does not answer {method}; its status is {self.process.poll()}")
            answer = self.answers.pop(id)
        if "error" in answer:
            raise AssertionError(f"{method}: {answer['error']}")
        return answer["result"]

    def open(self, url):
        return Page(self, url)


class Page:
    """One open page."""

    def __init__(self, browser, url):
        self.browser = browser
        target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        self.call("Page.navigate", url=url)

    def call(self, method, **params):
        return self.browser.call(method, session=self.session, **params)

    def text(self):
        """What a reader sees, without the invisible marks at which long words may break."""
        expression = "document.body ? document.body.innerText : ''"
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        return answer["result"].get("value", "").replace("\u200b", "")

    def wait_for_text(self, wanted):
        """Waits until every string of `wanted` can be read and nothing is being loaded any more."""
        deadline = time.monotonic() + PATIENCE_S
        while (missing := [text for text in wanted if text not in self.text()]) or self._loading():
            if time.monotonic() > deadline:
                raise AssertionError(
                    f"not on the page: {missing}; still loading: {self._loading()}; {self.complaints()}; "
                    f"on the page: {self.text()[:2000]!r}"
                )
            time.sleep(POLL_S)

    def _loading(self):
        ended = {
            event["requestId"]
            for method in ("Network.loadingFinished", "Network.loadingFailed")
            for event in self._events(method)
        }
        return {
            event["request"]["url"]
            for event in self._events("Network.requestWillBeSent")
            # The end of a worker's script, which ReDoc makes of a blob, is not told to the page.
            if event["requestId"] not in ended and not event["request"]["url"].startswith("blob:")
        }

    def _events(self, method):
        with self.browser.arrived:
            return [
                event["params"]
                for event in self.browser.events
                if event["method"] == method and event.get("sessionId") == self.session
            ]

    def requests(self):
        """Every address that the page asked for."""
        return [event["request"]["url"] for event in self._events("Network.requestWillBeSent")]

    def complaints(self):
        """What failed to load, what was thrown, what was logged as an error."""
        failed = [f"{event['type']} not loaded: {event['errorText']}" for event in self._events("Network.loadingFailed")]
        refused = [
            f"{event['response']['status']} for {event['response']['url']}"
            for event in self._events("Network.responseReceived")
            if event["response"]["status"] >= 400
        ]
        thrown = [
            str(event["exceptionDetails"].get("exception", event["exceptionDetails"]))
            for event in self._events("Runtime.exceptionThrown")
        ]
        logged = [
            event["entry"]["text"] for event in self._events("Log.entryAdded") if event["entry"]["level"] == "error"
        ]
        said = [str(event["args"]) for event in self._events("Runtime.consoleAPICalled") if event["type"] == "error"]
        return [*failed, *refused, *thrown, *logged, *said]

    def screenshot(self):
        """The visible part as PNG, in base64."""
        return self.call("Page.captureScreenshot", format="png")["data"]
