#!/usr/bin/env python3
"""What a list of events costs whose tenant has very many, and what it costs the others.

    bench/lists.py                    a million events of one tenant: delivered, waiting, failed, and due again
    bench/lists.py --events 100000
    bench/lists.py --binary ../other/posthaste

For each of the four: a new ledger, so many events of one tenant in that state, and then the first page (50) by each status:
milliseconds until the answer, and the daemon's CPU for it. Then sixteen connections ask for the dearest of them without a
pause while another tenant posts one event after the other: the time of its 201, without them and with them, and the CPU that
they get. Needs nothing but Python and the release build (`cargo build --release --workspace`).
"""

import argparse
import json
import socket
import statistics
import sys
import threading
import time

from backlog import BATCH, ROOT, Sink, cpu_s, fill, settled

sys.path.insert(0, str(ROOT / "tests/support"))

from posthaste import Api, Daemon, eventually  # noqa: E402

STATUSES = ("", "PENDING", "DELIVERED", "FAILED", "DLQ")
CALLERS = 16
WINDOW_S = 5.0
PATIENCE_S = 1800
# Long enough that all are attempted once before the first is due again.
DUE_S = 240
DUE = f"{DUE_S}s"
SETTINGS = {"isolation.breaker-failures": "0"}
# How each state comes about: the tenant's options, when its retries are due, and whether it is paused in the end.
STATES = {
    "delivered": ({"paused": False}, "1m", False),
    "waiting": ({"paused": True}, "1m", False),
    "failed": ({"paused": False}, "6h", False),
    "due": ({"paused": False}, DUE, True),
}


def path_of(status):
    return "/v1/events?limit=50" + (f"&status={status}" if status else "")


def page(daemon, key, status):
    """Milliseconds, CPU milliseconds, and how many events there were."""
    api, pid, took, spent = Api(daemon.api, key), daemon.process.pid, [], []
    for _ in range(5):
        cpu, begun = cpu_s(pid), time.monotonic()
        found = len(api.json("GET", path_of(status))["events"])
        took.append((time.monotonic() - begun) * 1e3)
        spent.append((cpu_s(pid) - cpu) * 1e3)
        if took[-1] > 2_000:
            break
    return round(statistics.median(took), 1), round(statistics.median(spent)), found


def quiet(daemon, key):
    """The times of one poster's 201s, in ms, and the daemon's CPU meanwhile, in cores."""
    api, took, cpu, begun = Api(daemon.api, key), [], cpu_s(daemon.process.pid), time.monotonic()
    while time.monotonic() - begun < WINDOW_S:
        at = time.monotonic()
        api.json("POST", "/v1/events", {"quiet": True}, expect=201)
        took.append((time.monotonic() - at) * 1e3)
        time.sleep(0.005)
    cores = (cpu_s(daemon.process.pid) - cpu) / (time.monotonic() - begun)
    took.sort()
    return {"p50 ms": round(took[len(took) // 2], 1), "p99 ms": round(took[len(took) * 99 // 100], 1), "cores": round(cores, 2)}


def with_callers(daemon, quiet_key, key, status):
    stop, counts = threading.Event(), [0] * CALLERS

    def call(n):
        api = Api(daemon.api, key)
        while not stop.is_set():
            try:
                api.json("GET", path_of(status))
            except OSError:
                return
            counts[n] += 1

    callers = [threading.Thread(target=call, args=(n,), daemon=True) for n in range(CALLERS)]
    for caller in callers:
        caller.start()
    time.sleep(0.5)
    figures = quiet(daemon, quiet_key)
    stop.set()
    return {**figures, "calls": sum(counts)}


def failed(daemon):
    text = Api(daemon.admin).request("GET", "/metrics").body.decode()
    lines = [line for line in text.splitlines() if line.startswith("posthaste_attempts_total{")]
    return sum(int(float(line.rsplit(" ", 1)[1])) for line in lines)


def run(binary, state, events):
    delivery, delay, is_paused = STATES[state]
    sink = Sink()
    with Daemon(binary, **SETTINGS, **{"retry.delays": delay}) as daemon, socket.create_server(("127.0.0.1", 0)) as dead:
        # Nobody listens there from here on.
        target = sink.url if state in ("delivered", "waiting") else f"http://127.0.0.1:{dead.getsockname()[1]}/hook"
        dead.close()
        made = {"tenant_id": "many", "target_url": target, "delivery": delivery}
        key = daemon.operator().json("POST", "/v1/tenants", made, expect=201)["api_key"]
        fill(daemon, key, events)
        if state == "delivered":
            eventually("all delivered", lambda: settled(daemon) >= events, PATIENCE_S)
        elif state != "waiting":
            eventually("all attempted", lambda: failed(daemon) >= events, PATIENCE_S)
        if is_paused:
            daemon.client(key).json("PATCH", "/v1/tenants/many", {"delivery": {"paused": True}})
            time.sleep(1.2 * DUE_S)
        time.sleep(3)
        quiet_key = daemon.tenant("quiet", sink.url)["api_key"]
        pages = {status: page(daemon, key, status) for status in STATUSES}
        dearest = max(pages, key=lambda status: pages[status][0])
        row = {
            "events": events,
            "state": state,
            "pages": {status or "any": dict(zip(("ms", "CPU ms", "found"), pages[status])) for status in STATUSES},
            "dearest": dearest or "any",
            "quiet alone": quiet(daemon, quiet_key),
            "quiet beside": with_callers(daemon, quiet_key, key, dearest),
        }
        print(json.dumps(row), flush=True)
        daemon.process.kill()
    sink.end()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--binary", default=str(ROOT / "target/release/posthaste"))
    parser.add_argument("--state", choices=STATES, action="append")
    options = parser.parse_args()
    for state in options.state or STATES:
        run(options.binary, state, options.events // BATCH * BATCH)
    return 0


if __name__ == "__main__":
    sys.exit(main())
