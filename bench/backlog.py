#!/usr/bin/env python3
"""What an event costs with few and with very many of its tenant's waiting before it: taken in, and delivered.

    bench/backlog.py                          100,000, 1,000,000 and 10,000,000 behind one paused tenant (16 GB of disk)
    bench/backlog.py --events 100000 1000000
    bench/backlog.py --binary ../other/posthaste

For each number: a new ledger, a paused tenant, so many events in batches of 500, every batch synced before its answer; then
the tenant gets another address and is resumed, and all of it must come there, once, and nothing to the old one. The CPU is
that of the daemon, from /proc; generator and sink share the machine with it. A resumed endpoint is taken up by a ramp, so
that with few events the rate is the ramp's: compare the CPU, and rates of a million and more. Needs nothing but Python and
the release build (`cargo build --release --workspace`). Exit status 1: an event is missing or came twice.
"""

import argparse
import http.client
import json
import os
import pathlib
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests/support"))

from children import goes_with_us  # noqa: E402
from posthaste import Api, Daemon  # noqa: E402
from soak import tree_bytes  # noqa: E402

BATCH = 500
POSTERS = 4
PAYLOAD = 500
TICKS = os.sysconf("SC_CLK_TCK")
# So long nothing may come before a run is given up.
STALL_S = 120
# What came twice would come within this.
GRACE_S = 3


class Sink:
    """`loadgen sink`, and how much has come to it."""

    def __init__(self):
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        command = [ROOT / "target/release/loadgen", "sink", "--listen", f"127.0.0.1:{self.port}"]
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, preexec_fn=goes_with_us
        )
        self.count = 0
        self.begun = queue.SimpleQueue()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        self.begun.get(timeout=30)

    def _read(self):
        for line in self.process.stdout:
            self.begun.put(line)
            found = re.search(r"(\d+) with 200", line)
            self.count = int(found[1]) if found else self.count

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/hook"

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()
        # Its last line is the whole count.
        self.reader.join()


def cpu_s(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident_mb(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024


def post(address, key, batches):
    """Posts so many batches, on one connection; an event that was refused ends it."""
    event = {"type": "backlog", "filler": "x" * (PAYLOAD - 36)}
    body = json.dumps([event] * BATCH).encode()
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    connection = http.client.HTTPConnection(address, timeout=60)
    for _ in range(batches):
        connection.request("POST", "/v1/events/batch", body, headers)
        answer = connection.getresponse()
        text = answer.read()
        if answer.status != 207 or text.count(b'"event_id"') != BATCH:
            sys.exit(f"a batch was answered {answer.status}: {text[:300]!r}")


def settled(daemon):
    text = Api(daemon.admin).request("GET", "/metrics").body.decode()
    return int(float(re.search(r'^posthaste_deliveries_total\{resolution="delivered"\} (\S+)', text, re.M)[1]))


def fill(daemon, key, events):
    each = [events // BATCH // POSTERS] * POSTERS
    each[0] += events // BATCH - sum(each)
    # Processes, for a thread of Python's would wait for the others.
    children = []
    for batches in each:
        command = [sys.executable, __file__, "--post", daemon.api, key, str(batches)]
        children.append(subprocess.Popen(command, preexec_fn=goes_with_us))
    if any(child.wait() for child in children):
        sys.exit("a poster failed")


def run(binary, events):
    old, new = Sink(), Sink()
    with Daemon(binary) as daemon:
        pid = daemon.process.pid
        made = {"tenant_id": "behind", "target_url": old.url, "delivery": {"paused": True}}
        key = daemon.operator().json("POST", "/v1/tenants", made, expect=201)["api_key"]
        cpu, begun = cpu_s(pid), time.monotonic()
        fill(daemon, key, events)
        taken_s, taken_cpu = time.monotonic() - begun, cpu_s(pid) - cpu
        disk = tree_bytes(daemon.folder.name) / 1e6
        # What merges are left from taking in is no part of delivering.
        time.sleep(GRACE_S)
        tenant = daemon.client(key)
        cpu, begun = cpu_s(pid), time.monotonic()
        tenant.json("PATCH", "/v1/tenants/behind", {"target_url": new.url, "delivery": {"paused": False}})
        last, seen, most = begun, 0, 0.0
        # By the daemon's own count, for the sink says its own once a second.
        while seen < events and time.monotonic() - last < STALL_S:
            time.sleep(0.1)
            most = max(most, resident_mb(pid))
            delivered = settled(daemon)
            if delivered != seen:
                last, seen = time.monotonic(), delivered
        sent_s, sent_cpu = last - begun, cpu_s(pid) - cpu
        time.sleep(GRACE_S)
    old.end()
    new.end()
    row = {
        "events": events,
        "taken in, events/s": round(events / taken_s),
        "CPU us an event taken in": round(taken_cpu * 1e6 / events, 1),
        "disk MB": round(disk),
        "delivered/s": round(seen / sent_s),
        "CPU us a delivery": round(sent_cpu * 1e6 / max(1, seen), 1),
        "resident MB at most": round(most),
        "missing": max(0, events - new.count),
        "repeated": max(0, new.count - events),
        "at the old address": old.count,
    }
    print(json.dumps(row), flush=True)
    return row["missing"] == row["repeated"] == row["at the old address"] == 0


def main():
    if sys.argv[1:2] == ["--post"]:
        post(sys.argv[2], sys.argv[3], int(sys.argv[4]))
        return 0
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--events", type=int, nargs="+", default=[100_000, 1_000_000, 10_000_000])
    parser.add_argument("--binary", default=str(ROOT / "target/release/posthaste"))
    options = parser.parse_args()
    held = [run(options.binary, events // BATCH * BATCH) for events in options.events]
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
