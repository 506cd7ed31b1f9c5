"""The real binary as a child process, a client of its API, and an endpoint that keeps what it gets.

Standard library only. Everything listens on loopback, on ports that the system chooses.
"""

import http.client
import json
import queue
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections import namedtuple
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(Path(__file__).resolve().parent))

from children import serve  # noqa: E402

PAYLOADS = TOP / "testdata/payloads/github-sample.ndjson"

# How long anything may take before a test gives up, in seconds; long, because CI machines are slow and busy.
PATIENCE_S = 60.0
POLL_S = 0.02

DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def base62(number, digits):
    """The lowest digit first."""
    text = ""
    for _ in range(digits):
        number, digit = divmod(number, 62)
        text += DIGITS[digit]
    return text


def new_api_key():
    """An API key: `phk_`, 43 digits of chance, 6 of CRC-32."""
    key = "phk_" + base62(secrets.randbits(256), 43)
    return key + base62(zlib.crc32(key.encode()), 6)


def eventually(what, probe, patience_s=PATIENCE_S):
    """Returns the first true value of `probe()`; fails with `what` when that takes too long."""
    deadline = time.monotonic() + patience_s
    while not (found := probe()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {patience_s:.0f} s: {what}")
        time.sleep(POLL_S)
    return found


Answer = namedtuple("Answer", "status headers body")


class Api:
    """A client with one API key (or none); every answer must be as expected."""

    def __init__(self, address, key=None):
        self.address, self.key = address, key

    def request(self, method, path, body=None, headers=()):
        connection = http.client.HTTPConnection(self.address, timeout=PATIENCE_S)
        try:
            sent = dict(headers)
            if self.key:
                sent["Authorization"] = f"Bearer {self.key}"
            if body is not None:
                sent.setdefault("Content-Type", "application/json")
            connection.request(method, path, body=body, headers=sent)
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def json(self, method, path, body=None, expect=200):
        """Sends `body` (bytes as they are, anything else as JSON); returns the answer's JSON."""
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        answer = self.request(method, path, body)
        if answer.status != expect:
            raise AssertionError(f"{method} {path}: {answer.status} instead of {expect}: {answer.body[:500]!r}")
        return json.loads(answer.body)


class Daemon:
    """`posthaste serve` with a data directory of its own; a context manager that ends it."""

    def __init__(self, binary, **settings):
        self.admin_key = new_api_key()
        self.settings = {
            "server.listen": "127.0.0.1:0",
            "server.admin-listen": "127.0.0.1:0",
            "delivery.allow-networks": "127.0.0.0/8",
            "retry.delays": "200ms,400ms,800ms",
            "auth.admin-key": self.admin_key,
            **settings,
        }
        self.binary = Path(binary).resolve()
        self.lines = []
        self.addresses = queue.SimpleQueue()

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="posthaste-test-")
        self.process = serve(self.binary, Path(self.folder.name) / "data", self.settings)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        try:
            found = {}
            while not {"api", "admin"} <= found.keys():
                found.update([self.addresses.get(timeout=PATIENCE_S)])
                if "end" in found:
                    raise AssertionError("the daemon ended before it listened")
            self.api, self.admin = found["api"], found["admin"]
            eventually("ready", lambda: Api(self.admin).request("GET", "/readyz").status == 200)
        except BaseException:
            self.__exit__()
            print("\n".join(self.lines[-50:]))
            raise
        return self

    def _read(self):
        # Addresses are printed as `  api    http://127.0.0.1:8080`.
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            words = line.split()
            if len(words) >= 2 and words[0] in ("api", "admin") and words[1].startswith("http://"):
                self.addresses.put((words[0], words[1].removeprefix("http://").rstrip("/")))
        self.addresses.put(("end", None))

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.reader.join(PATIENCE_S)
        self.process.stdout.close()
        self.folder.cleanup()

    def client(self, key=None):
        return Api(self.api, key)

    def operator(self):
        return Api(self.api, self.admin_key)

    def tenant(self, name, target):
        """Creates a tenant; returns what the API answered, with a client in it."""
        tenant = self.operator().json("POST", "/v1/tenants", {"tenant_id": name, "target_url": target}, expect=201)
        return {**tenant, "client": self.client(tenant["api_key"])}


Received = namedtuple("Received", "path headers body")


class Sink:
    """An HTTP endpoint that keeps every request byte for byte; a context manager.

    `answers[path]` is a list of status codes to give first; after those, and elsewhere, it answers 200.
    """

    def __init__(self):
        self.received, self.answers, self.lock = [], {}, threading.Lock()
        sink = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with sink.lock:
                    sink.received.append(Received(self.path, self.headers, body))
                    answers = sink.answers.get(self.path)
                    status = answers.pop(0) if answers else 200
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True

    def __enter__(self):
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def url(self, path):
        return f"http://127.0.0.1:{self.server.server_port}{path}"

    def of(self, event_id):
        """The requests that delivered this event, in order of arrival."""
        with self.lock:
            return [received for received in self.received if received.headers["webhook-id"] == event_id]

    def wait_for(self, event_id, count=1):
        return eventually(
            f"{count} deliveries of {event_id}", lambda: len(got := self.of(event_id)) >= count and got
        )
