"""What the tests of hostile receivers, tenants and callers share: a process that can be killed and started again, raw
sockets, and the one line in which a proof says what it tried, what held, and that it can fail.

Standard library only. `PROVE_LONG=1` in the environment asks for the long forms.
"""

import os
import queue
import re
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

HERE = Path(__file__).resolve().parent
TOP = HERE.parents[1]
sys.path.insert(0, str(HERE.parent / "support"))
from children import serve  # noqa: E402
from posthaste import PATIENCE_S, Api, eventually, new_api_key  # noqa: E402

LONG = os.environ.get("PROVE_LONG") == "1"
DEBUG_BINARY = TOP / "target/debug/posthaste"
SKIPPED = 77
FAULTS_SHOWN_MAX = 40


class Proof:
    """Counts what was tried and what held; prints one line, and ends the program where something did not hold."""

    def __init__(self, row):
        self.row, self.tried, self.held, self.faults = row, 0, 0, []
        self.lock = threading.Lock()

    def check(self, holds, what):
        with self.lock:
            self.tried += 1
            if holds:
                self.held += 1
            else:
                self.faults.append(str(what))
        return bool(holds)

    def equal(self, found, expected, what):
        return self.check(found == expected, f"{what}: {found!r} instead of {expected!r}")

    def count(self, tried, held, what):
        """Many of one kind at once."""
        self.tried += tried
        self.held += held
        if held != tried:
            self.faults.append(f"{what}: {tried - held} of {tried} do not hold")

    def say(self, control):
        """`control` is what was tried to show that this proof can fail, and that it did."""
        for fault in self.faults[:FAULTS_SHOWN_MAX]:
            print(f"  not held: {fault[:400]}")
        if len(self.faults) > FAULTS_SHOWN_MAX:
            print(f"  not held: {len(self.faults) - FAULTS_SHOWN_MAX} more")
        print(f"proof: {self.row} tried {self.tried} held {self.held} control {control}", flush=True)
        return not self.faults


def note(text):
    print(f"  {text}", flush=True)


def skip(why):
    """Says what this machine does not let us try, in the words that scripts/prove looks for."""
    print(f"{Path(sys.argv[0]).stem}: SKIPPED: {why}", flush=True)


def must(holds, what):
    """For controls: a proof that cannot fail proves nothing."""
    if not holds:
        sys.exit(f"hostile: the control is not held: {what}")


class Instance:
    """`posthaste serve` on a data directory that outlives it; a context manager that ends it.

    The admin key stands in a file, so that nothing that is said of the command line says it.
    """

    def __init__(self, binary, home, **settings):
        self.binary, self.home = Path(binary).resolve(), Path(home)
        key_file = self.home / "admin-key"
        if not key_file.exists():
            key_file.write_text(new_api_key())
        self.admin_key = key_file.read_text()
        self.settings = {
            "server.listen": "127.0.0.1:0",
            "server.admin-listen": "127.0.0.1:0",
            "delivery.allow-networks": "127.0.0.0/8",
            "auth.admin-key-file": key_file,
            **settings,
        }
        self.lines = []

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def start(self):
        file = self.home / "posthaste.toml"
        more = ["--config", file] if file.exists() else []
        self.process = serve(self.binary, self.home / "data", self.settings, *more)
        addresses = queue.SimpleQueue()
        self.reader = threading.Thread(target=self._read, args=(addresses,), daemon=True)
        self.reader.start()
        try:
            self._wait_ready(addresses)
        except BaseException:
            # Nobody else ends it.
            self.kill()
            raise
        return self

    def _wait_ready(self, addresses):
        found = {}
        while not {"api", "admin"} <= found.keys():
            name, address = addresses.get(timeout=PATIENCE_S)
            if name == "end":
                raise AssertionError("the process ended before it listened:\n" + "\n".join(self.lines[-30:]))
            found[name] = address
        self.api, self.admin = found["api"], found["admin"]
        eventually("ready", lambda: Api(self.admin).request("GET", "/readyz").status == 200)

    def _read(self, addresses):
        # Addresses are printed as `  api    http://127.0.0.1:8080`.
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            words = line.split()
            if len(words) >= 2 and words[0] in ("api", "admin") and words[1].startswith("http://"):
                addresses.put((words[0], words[1].removeprefix("http://").rstrip("/")))
        addresses.put(("end", None))

    def kill(self):
        """SIGKILL, and wait for the end."""
        self.process.kill()
        self._ended()

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self._ended()

    def _ended(self):
        self.process.wait()
        self.reader.join(PATIENCE_S)
        self.process.stdout.close()

    def lives(self):
        return self.process.poll() is None

    def panics(self):
        return [line for line in self.lines if "panic" in line.lower()]

    def client(self, key=None):
        return Api(self.api, key)

    def operator(self):
        return Api(self.api, self.admin_key)

    def tenant(self, name, target, **fields):
        asked = {"tenant_id": name, "target_url": target, **fields}
        tenant = self.operator().json("POST", "/v1/tenants", asked, expect=201)
        return {**tenant, "client": self.client(tenant["api_key"])}

    def metrics(self):
        return Api(self.admin).request("GET", "/metrics").body.decode()

    def rss_kib(self):
        return memory_kib(self.process.pid, "VmRSS")

    def forget_peak(self):
        """Peak memory counts from now on."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def peak_kib(self):
        return memory_kib(self.process.pid, "VmHWM")


def memory_kib(pid, what):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(what + ":"):
            return int(line.split()[1])
    raise AssertionError(f"no {what}")


def home():
    return tempfile.TemporaryDirectory(prefix="posthaste-hostile-")


def place(address):
    host, _, port = address.rpartition(":")
    return host, int(port)


def raw(address, sent, patience_s=PATIENCE_S):
    """Sends bytes as they are; gives everything that comes back until the connection ends."""
    with socket.create_connection(place(address), timeout=patience_s) as stream:
        answer = bytearray()
        try:
            stream.sendall(sent)
            while piece := stream.recv(65536):
                answer += piece
        except (ConnectionError, TimeoutError):
            # What was answered before counts.
            pass
    return bytes(answer)


def statuses(answer):
    """Of all answers on a connection, also of one that nobody asked for."""
    return [int(found) for found in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)]


def body_of(answer):
    return answer.partition(b"\r\n\r\n")[2]


def post_batch(client, payloads):
    """Posts events; gives their ids, in order."""
    ids = []
    for start in range(0, len(payloads), 500):
        body = ("[" + ",".join(payloads[start : start + 500]) + "]").encode()
        results = client.json("POST", "/v1/events/batch", body, expect=207)["results"]
        ids += [result["event_id"] for result in results]
    return ids


def list_all(client, status=None):
    """Every event of a tenant: {id: status}."""
    found, token = {}, None
    while True:
        query = "limit=100" + (f"&status={status}" if status else "") + (f"&next_token={token}" if token else "")
        page = client.json("GET", f"/v1/events?{query}")
        found.update((event["event_id"], event["status"]) for event in page["events"])
        token = page["next_token"]
        if not token:
            return found


def quiet(sink):
    """A sink that says nothing of clients that die."""
    sink.server.handle_error = lambda *_: None
    return sink


def many_files():
    """As many descriptors as the system allows."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


def percentile(values, part):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else 0.0


def run(main):
    """Calls `main(binary)`, which yields whether each of its proofs held."""
    binary = Path(sys.argv[1]) if len(sys.argv) > 1 else DEBUG_BINARY
    if not binary.exists():
        sys.exit(f"hostile: {binary} is not there; build it, or name another one")
    if not all([*main(binary)]):
        sys.exit(1)
