"""What runs beside the cloud: the real daemon, a name server for its deliveries, a proxy that can break, and a client
of the API."""

import hashlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cloud import free_port, until

START_S = 30
STOP_S = 60
REQUEST_S = 30


class Names:
    """A name server for the daemon's deliveries: every name is this machine."""

    def __init__(self):
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                query, client = self._socket.recvfrom(512)
            except OSError:
                return
            self._socket.sendto(answer(query), client)

    def close(self):
        self._socket.close()


def answer(query):
    """The answer to a query: 127.0.0.1 to a question for an IPv4 address, else nothing."""
    end = query.index(b"\0", 12) + 5
    question, kind = query[12:end], query[end - 4 : end - 2]
    is_address = kind == b"\0\1"
    # The query's id, "an answer, no error", one question, and one record or none.
    head = query[:2] + b"\x81\x80\0\1" + (b"\0\1" if is_address else b"\0\0") + b"\0\0\0\0"
    # The question's name, class IN, for ten seconds, four bytes.
    record = b"\xc0\x0c\0\1\0\1\0\0\0\x0a\0\4" + bytes([127, 0, 0, 1])
    return head + question + (record if is_address else b"")


class Proxy(ThreadingHTTPServer):
    """Before the receiver: passes everything on, or, while it is broken, answers 500 to everything."""

    daemon_threads = True

    def __init__(self, url, host):
        super().__init__(("127.0.0.1", 0), Passing)
        self.url, self.host = url, host
        self.is_broken = True
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def port(self):
        return self.server_address[1]


class Passing(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.is_broken:
            return self.answer(500, b"")
        headers = dict(self.headers.items()) | {"Host": self.server.host}
        request = urllib.request.Request(self.server.url + self.path, body, headers, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=REQUEST_S) as response:
                return self.answer(response.status, response.read())
        except urllib.error.HTTPError as response:
            with response:
                return self.answer(response.status, response.read())

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Daemon:
    """A daemon as the user data of the stack configures it, with its own disk. What differs from an instance is in
    its environment: where AWS is, where it listens, short pauses, and leave to deliver to this machine. In AWS it is
    what an instance is: the role of the launch template."""

    def __init__(self, binary, config, folder, cloud, role, names, delays):
        self._folder = folder
        self._admin = free_port()
        folder.mkdir(parents=True)
        # As the package makes it, and the unit hands it on.
        key = subprocess.run([binary, "key"], capture_output=True, text=True, check=True).stdout
        (folder / "posthaste.auth.admin-key").write_text(key)
        self._log = folder / "log"
        self.environment = {
            "PATH": os.environ["PATH"],
            **cloud.environment(role),
            "CREDENTIALS_DIRECTORY": str(folder),
            "POSTHASTE_AWS_SQS_ENDPOINT": cloud.url,
            "POSTHASTE_AWS_DYNAMODB_ENDPOINT": cloud.url,
            "POSTHASTE_AWS_SWEEP_PAUSE": "1s",
            "POSTHASTE_AWS_INSTANCE": folder.name,
            "POSTHASTE_DATA_DIR": str(folder / "data"),
            "POSTHASTE_DATA_BALLAST": "0B",
            "POSTHASTE_DELIVERY_ALLOW_NETWORKS": "127.0.0.0/8",
            "POSTHASTE_DELIVERY_RESOLVERS": names.address,
            "POSTHASTE_RETRY_DELAYS": delays,
            "POSTHASTE_SERVER_LISTEN": "127.0.0.1:0",
            "POSTHASTE_SERVER_ADMIN_LISTEN": f"127.0.0.1:{self._admin}",
        }
        self._command = [binary, "serve", "--config", config]
        self._process = None

    def start(self):
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, env=self.environment, cwd=self._folder,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        until("the daemon is ready", self._is_ready, START_S)
        return self

    def _is_ready(self):
        if self._process.poll() is not None:
            raise RuntimeError(f"the daemon ended:\n{self.log()}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._admin}/readyz", timeout=1):
                return True
        except OSError:
            return False

    def stop(self):
        """Ends it as systemd does; its exit status."""
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(STOP_S)

    def lose(self):
        """Kills it, and takes its disk away."""
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._folder / "data")

    def close(self):
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def log(self):
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def tail(self):
        """Prints the end of its log, for whoever looks for a fault."""
        for line in self.log().splitlines()[-20:]:
            print(f"           {self._folder.name}: {line}")


class Api:
    """A client of both APIs, which are found by their names as behind API Gateway."""

    def __init__(self, cloud, zone):
        self._url, self._zone = cloud.url, zone

    def __call__(self, method, path, body=None, key=None, host="hooks", **headers):
        """Status and body of an answer; a body that is no text is sent as JSON."""
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        headers["Host"] = f"{host}.{self._zone}"
        if body is not None:
            headers.setdefault("Content-Type", "application/json")
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(self._url + path, body, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=REQUEST_S) as response:
                return response.status, read(response)
        except urllib.error.HTTPError as response:
            with response:
                return response.status, read(response)


def read(response):
    body = response.read()
    is_json = response.headers.get("Content-Type", "").startswith("application/json")
    return json.loads(body) if is_json else body


def new_admin_key():
    """A key, and what a deployment is told of it."""
    key = secrets.token_hex(32)
    return key, hashlib.sha256(key.encode()).hexdigest()
