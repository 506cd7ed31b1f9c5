"""Hostile endpoints beside good ones, against the real process (promise 17 of docs/SEMANTICS.md).

    endpoints.py [PATH-OF-POSTHASTE]

For every behaviour of `behaviours` and `certificates`, N connections each: the attempt ends as it must and in time, the
process grows by 32 MiB at most, and each event of each good endpoint arrives once. Behaviours that need a name server, or
a clock that is ours, are tests of the delivery crate.
"""

import asyncio
import multiprocessing
import re
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import behaviours
import certificates
from common import (
    LONG, Instance, Proof, eventually, home, list_all, many_files, must, note, percentile, post_batch, run, skip,
)  # fmt: skip
from children import goes_with_us

# CI; long.
CONNECTIONS = 200 if LONG else 3
GOOD = 1000 if LONG else 20
ROUNDS_MIN = 10
ATTEMPT_S = 30.0 if LONG else 3.0
# Behaviours that take the whole deadline and end otherwise than by a time-out.
SLOW = {"drips-body", "body-never-comes", "500-body-never-ends", "200-just-in-time"}
# CI machines are busy; what is promised is half a second.
LATE_S = 0.5 if LONG else 5.0
GROWTH_KIB_MAX = 32 * 1024
PATIENCE_S = 900.0 if LONG else 90.0
POSTERS = 4
# A round of the good endpoints' events takes so long at least, so that the load is the same with and without the others.
ROUND_S = 4.0 if LONG else 0.0
WARM_EVENTS = 70_000 if LONG else 500

SETTINGS = {
    "delivery.attempt-timeout": f"{int(ATTEMPT_S * 1000)}ms",
    "delivery.connect-timeout": "5s" if LONG else "2s",
    "retry.attempts-max": 1,
    # Nobody is left alone: every connection is made.
    "isolation.breaker-failures": 0,
}


class Hostile:
    """All behaviours, each on a port of its own, in a process of its own; a context manager."""

    def __init__(self, cases):
        self.cases = []
        for name, behave, ends, tls, scheme in cases:
            listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
            self.cases.append((name, behave, ends, tls, f"{scheme}://127.0.0.1:{listener.getsockname()[1]}/", listener))

    def __enter__(self):
        self.process = multiprocessing.get_context("fork").Process(target=self._serve, daemon=True)
        self.process.start()
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.join()

    def _serve(self):
        goes_with_us()
        many_files()
        asyncio.run(self._serve_all())

    async def _serve_all(self):
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        for _, behave, _, tls, _, listener in self.cases:
            await asyncio.start_server(handler(behave), sock=listener, ssl=tls, limit=1 << 16)
        await asyncio.Event().wait()


def handler(behave):
    async def handle(reader, writer):
        try:
            await behave(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            # The other side has had enough, which is what is wanted of it.
            pass
        finally:
            writer.close()

    return handle


class Good:
    """Endpoints that answer 200 and note what arrives and when; a context manager."""

    def __init__(self):
        self.arrivals = {}
        self.loop = asyncio.new_event_loop()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port = self.listener.getsockname()[1]

    def __enter__(self):
        self.thread = threading.Thread(target=self.loop.run_until_complete, args=(self._serve(),), daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self.ended.set)
        self.thread.join()

    async def _serve(self):
        self.ended = asyncio.Event()
        await asyncio.start_server(handler(self._answer), sock=self.listener)
        await self.ended.wait()

    async def _answer(self, reader, writer):
        while head := await behaviours.request(reader):
            event = head.partition(b"webhook-id: ")[2].partition(b"\r\n")[0].decode()
            self.arrivals.setdefault(event, []).append(time.monotonic())
            writer.write(behaviours.OK)
            await writer.drain()


def fill(good, tenants, number):
    """As many events as will come, all to good endpoints, so that the store's own tables and caches are as large as they
    get: what is measured afterwards is what hostile endpoints take."""
    ids = []
    for tenant in tenants:
        ids += post_batch(tenant["client"], ['{"good":true}'] * (number // len(tenants)))
    eventually("they arrive", lambda: all(id in good.arrivals for id in ids), PATIENCE_S)


class Load:
    """One event to each good endpoint, round after round, each round when the one before has arrived."""

    def __init__(self, good, tenants):
        self.good, self.tenants, self.posted = good, tenants, {}
        self.stop = threading.Event()

    def rounds(self, least):
        done = 0
        with ThreadPoolExecutor(POSTERS) as posters:
            while done < least or not self.stop.is_set():
                end = time.monotonic() + ROUND_S
                ids = list(posters.map(self._post, self.tenants))
                eventually("a round arrives", lambda: all(id in self.good.arrivals for id in ids), PATIENCE_S)  # noqa: B023
                done += 1
                while time.monotonic() < end and (done < least or not self.stop.wait(0.1)):
                    time.sleep(0.05)
        return done

    def _post(self, tenant):
        start = time.monotonic()
        id = tenant["client"].json("POST", "/v1/events", b'{"good":true}', expect=201)["event_id"]
        self.posted[id] = start
        return id

    def latencies_ms(self):
        return [(self.good.arrivals[id][0] - start) * 1000 for id, start in self.posted.items() if id in self.good.arrivals]


class Watch:
    """Looks once a second at the process's memory and connections."""

    def __init__(self, daemon):
        self.daemon, self.next, self.seen = daemon, 0.0, []

    def look(self):
        if time.monotonic() < self.next:
            return
        self.next = time.monotonic() + 1.0
        gauges = re.findall(r'^posthaste_pool_connections\{.*state="(\w+)".*\} (\d+)', self.daemon.metrics(), re.MULTILINE)
        states = {}
        for state, number in gauges:
            states[state] = states.get(state, 0) + int(number)
        self.seen.append((self.daemon.rss_kib(), states))

    def most(self):
        return max(self.seen, key=lambda it: it[0], default=(0, {}))


def once(posted, arrivals):
    """Events that did not arrive once."""
    return [id for id in posted if len(arrivals.get(id, [])) != 1]


def judge(attempts, ends, within_s):
    """What is wrong with the attempts at one behaviour's endpoint; `attempts` are lines of the log."""
    for attempt in attempts:
        ended = attempt["error_class"] or "ok"
        if ended not in ends:
            yield f"ended as {ended} instead of {sorted(ends)}: {attempt['error']}"
        if attempt["duration_ms"] > within_s * 1000:
            yield f"took {attempt['duration_ms']} ms"


def silent_port(stack):
    """A port whose accept queue is full, so that SYNs are dropped."""
    listener = stack.enter_context(socket.socket())
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    for _ in range(100):
        filler = stack.enter_context(socket.socket())
        filler.settimeout(0.3)
        try:
            filler.connect(listener.getsockname())
        except TimeoutError:
            return listener.getsockname()[1]
    raise AssertionError("the accept queue never fills")


def closed_port(stack):
    """A port that is taken and at which nobody listens."""
    taken = stack.enter_context(socket.socket())
    taken.bind(("127.0.0.1", 0))
    return taken.getsockname()[1]


def cases_of(stack, folder):
    # Handshakes have a deadline of their own, so they do not wait for those who flood.
    groups, roots = [[(*case, None, "http") for case in behaviours.plain(ATTEMPT_S)]], {}
    if certificates.possible():
        authority = certificates.Authority(folder)
        groups.append(certificates.behaviours(authority))
        roots["delivery.extra-root-certificates"] = authority.certificate
    else:
        skip("openssl is not here: endpoints with TLS are not tried")
    found = []
    for group in groups:
        hostile = stack.enter_context(Hostile(group))
        found += [(name, ends, url) for name, _, ends, _, url, _ in hostile.cases]
    found.append(("accept-queue-full", {"connect_timeout"}, f"http://127.0.0.1:{silent_port(stack)}/"))
    found.append(("port-closed", {"connect_failed"}, f"http://127.0.0.1:{closed_port(stack)}/"))
    return found, roots


def tenants_of(daemon, cases):
    """A tenant for each behaviour, and its events. Where an attempt takes the whole deadline, an endpoint is soon attempted
    once at a time; so that all connections are there at once, the long form has a tenant for each."""
    for name, ends, url in cases:
        crowd = CONNECTIONS if LONG and (ends & {"timeout", "connect_timeout"} or name in SLOW) else 1
        for number in range(crowd):
            tenant = daemon.tenant(f"{name}-{number}" if crowd > 1 else name, url)
            yield tenant, name, ends, CONNECTIONS // crowd


def settled(waiting):
    """Whether every event to hostile endpoints is over, but for those whose endpoint is held. Forgets who is."""
    while waiting:
        tenant, name, _, ids = waiting[-1]
        over = sum(status != "PENDING" for status in list_all(tenant["client"]).values())
        if over < (1 if name in behaviours.HELD else len(ids)):
            return False
        waiting.pop()
    return True


def attempts_of(tenant, ids):
    for id in ids:
        yield from tenant["client"].json("GET", f"/v1/events/{id}")["event"]["attempt_log"]


def control(stack, binary, folder, url):
    """A process whose deadline is too long, and that is given more to hold than it may grow by: the same questions find
    both. Runs beside the main part; gives what to ask at the end."""
    late = {**SETTINGS, "delivery.attempt-timeout": f"{int((ATTEMPT_S + LATE_S + 2) * 1000)}ms"}
    instance = Instance(binary, folder, **late)
    instance.start()
    stack.callback(lambda: instance.lives() and instance.kill())
    tenant = instance.tenant("control", url)
    before = instance.rss_kib()
    instance.forget_peak()
    large = '{"a":"' + "x" * 250_000 + '"}'
    ids = []
    for _ in range(10):
        ids += post_batch(tenant["client"], [large] * 18)

    def ask():
        eventually(
            "the control's attempt ends",
            lambda: tenant["client"].json("GET", "/v1/events?status=DLQ")["total_count"] > 0,
            PATIENCE_S,
        )
        dead = list_all(tenant["client"], "DLQ")
        found = list(judge(attempts_of(tenant, dead), {"timeout"}, ATTEMPT_S + LATE_S))
        must(any("took" in fault for fault in found), "a late attempt is not noticed")
        wrong = list(judge(attempts_of(tenant, dead), {"ok"}, 3600))
        must(any("instead of" in fault for fault in wrong), "a wrong end is not noticed")
        growth = instance.peak_kib() - before
        must(growth > GROWTH_KIB_MAX, f"45 MB of payloads are not seen in memory: {growth} KiB")
        instance.kill()

    return ask


def main(binary):
    many_files()
    proof = Proof(17)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(home()))
        cases, roots = cases_of(stack, folder)
        good = stack.enter_context(Good())
        daemon = stack.enter_context(Instance(binary, folder, **SETTINGS, **roots))
        quiet = [daemon.tenant(f"good-{n}", f"http://127.0.0.1:{good.port}/{n}") for n in range(GOOD)]
        bad = list(tenants_of(daemon, cases))
        warm = Load(good, quiet)
        warm.stop.set()
        warm.rounds(ROUNDS_MIN)
        fill(good, quiet, WARM_EVENTS)
        before = daemon.rss_kib()
        daemon.forget_peak()

        url = next(url for name, _, url in cases if name == "never-answers")
        ask_control = control(stack, binary, Path(stack.enter_context(home())), url)

        load = Load(good, quiet)
        with ThreadPoolExecutor(1) as pool:
            posting = pool.submit(load.rounds, ROUNDS_MIN)
            start = time.monotonic()
            bad = [(*it[:3], post_batch(it[0]["client"], ['{"bad":true}'] * it[3])) for it in bad]
            waiting, watch = list(bad), Watch(daemon)
            over = lambda: watch.look() or settled(waiting)  # noqa: E731
            try:
                eventually("every attempt at a hostile endpoint is over", over, PATIENCE_S)
            finally:
                load.stop.set()
            rounds = posting.result()
        peak = daemon.peak_kib() - before
        tried, slowest = 0, 0
        for tenant, name, ends, ids in bad:
            attempts = list(attempts_of(tenant, ids))
            faults = list(judge(attempts, ends, ATTEMPT_S + LATE_S))
            proof.count(len(attempts), len(attempts) - min(len(attempts), len(faults)), f"{name}: {faults[:1]}")
            enough = 1 if name in behaviours.HELD else len(ids)
            proof.check(len(attempts) >= enough, f"{name}: {len(attempts)} attempts of {enough}")
            tried += len(attempts)
            slowest = max([slowest, *(attempt["duration_ms"] for attempt in attempts)])
        proof.check(peak <= GROWTH_KIB_MAX, f"the process grew by {peak} KiB")
        wrong = once(load.posted, good.arrivals)
        proof.count(len(load.posted), len(load.posted) - len(wrong), f"events of good endpoints arrive once: {wrong[:3]}")
        proof.check(daemon.lives() and not daemon.panics(), f"the process lives: {daemon.panics()[:3]}")
        calm, beside = (percentile(it.latencies_ms(), 0.99) for it in (warm, load))
        note(
            f"{len(cases)} behaviours, {tried} attempts in {time.monotonic() - start:.0f} s, slowest {slowest} ms; "
            f"grown by {peak} KiB from {before} KiB, at its largest with connections {watch.most()[1]}; {len(load.posted)} good events in {rounds} rounds, "
            f"p99 {beside:.1f} ms beside hostile endpoints and {calm:.1f} ms without"
        )
        ask_control()
        doctored = {id: times * 2 if n == 0 else times for n, (id, times) in enumerate(good.arrivals.items())}
        doctored.popitem()
        must(len(once([*warm.posted, *load.posted], doctored)) == 2, "a lost and a repeated event are not noticed")
    yield proof.say("a deadline too long, 45 MB held, a wrong end, a lost and a repeated event: each noticed")


if __name__ == "__main__":
    run(main)
