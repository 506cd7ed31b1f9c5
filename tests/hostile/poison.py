"""An event that is in flight whenever the process dies stops nobody (promise 15 of docs/SEMANTICS.md).

    poison.py [PATH-OF-POSTHASTE]

SIGKILL stands for a panic, which ends the process too. An event that was in flight at three crashes is put aside as
`poison`; one that was at two is delivered; whatever else was accepted meanwhile arrives, soon after the process is back;
and events that are as odd as ingest allows are delivered byte for byte.
"""

import threading
import time
from contextlib import ExitStack
from socket import create_server

from common import LONG, Instance, Proof, eventually, home, list_all, must, note, percentile, post_batch, quiet, run
from posthaste import PATIENCE_S, Sink

ROUNDS = 30 if LONG else 2
OTHERS = 20
CRASHES = 3
# How long the control waits for an event that is held back.
HELD_BACK_S = 2.0
LATE_S = 5.0
# CI machines are busy, and a debug build opens its store more slowly.
LATE_MAX_S = LATE_S if LONG else 30.0
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Silent:
    """An endpoint that leaves each event unanswered so many times, and answers it from then on; a context manager."""

    def __init__(self, times):
        self.times, self.seen, self.lock = times, {}, threading.Lock()
        self.listener = create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}/"

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.listener.close()

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with connection:
            try:
                while head := connection.recv(65536):
                    event = head.partition(b"webhook-id: ")[2].partition(b"\r\n")[0].decode()
                    with self.lock:
                        self.seen[event] = self.seen.get(event, 0) + 1
                        silent = self.seen[event] <= self.times
                    if not silent:
                        connection.sendall(ANSWER)
            except OSError:
                # The process has died.
                return

    def attempts(self, event):
        with self.lock:
            return self.seen.get(event, 0)


def one(tenant, body=b"{}"):
    return tenant["client"].json("POST", "/v1/events", body, expect=201)["event_id"]


def again(daemon, tenants, forget=False):
    """Kills and starts it; the tenants' clients go to where it listens now. `forget`: without its registers of what was in
    flight, which is all that it knows a poison event by."""
    daemon.kill()
    if forget:
        for register in (daemon.home / "data").glob("attempts-*"):
            register.unlink()
    daemon.start()
    for tenant in tenants:
        tenant["client"].address = daemon.api


def status(tenant, event):
    return tenant["client"].json("GET", f"/v1/events/{event}")["event"]["status"]


def arrive(sink, events, proof, patience_s=PATIENCE_S):
    """Waits until all of them have arrived."""
    arrived = lambda: sum(bool(sink.of(event)) for event in events)  # noqa: E731
    end = time.monotonic() + patience_s
    eventually("all arrive, or it is too late", lambda: arrived() == len(events) or time.monotonic() > end, patience_s + 1)
    proof.count(len(events), arrived(), "other events arrive")


def crashes(daemon, sink, number, proof, late, forget=False):
    """One poison event, one that is in flight at one crash fewer, and twenty others a crash."""
    with Silent(10**9) as never, Silent(CRASHES - 1) as at_last:
        poisonous, lucky = daemon.tenant(f"poison-{number}", never.url), daemon.tenant(f"lucky-{number}", at_last.url)
        others = [daemon.tenant(f"other-{number}-{n}", sink.url(f"/other-{n}")) for n in range(OTHERS)]
        everybody = [poisonous, lucky, *others]
        poison, delivered, posted = one(poisonous), one(lucky), []
        for crash in range(1, CRASHES + 1):
            eventually("it is in flight", lambda: never.attempts(poison) == crash)  # noqa: B023
            eventually("so is the other", lambda: at_last.attempts(delivered) >= min(crash, CRASHES))  # noqa: B023
            posted += [one(other) for other in others]
            if crash == CRASHES:
                eventually("it was answered at last", lambda: status(lucky, delivered) == "DELIVERED")
            killed = time.monotonic()
            again(daemon, everybody, forget)
            arrive(sink, posted[-OTHERS:], proof)
            late.append(time.monotonic() - killed)
        tried_again = lambda: never.attempts(poison) > CRASHES  # noqa: E731
        eventually("it is put aside, or tried again", lambda: status(poisonous, poison) == "DLQ" or tried_again())
        letters = poisonous["client"].json("GET", "/v1/admin/dlq/messages")["messages"]
        proof.equal([letter["attributes"]["cause"] for letter in letters], ["poison"], "why it is dead")
        proof.equal(never.attempts(poison), CRASHES, "attempts at the poison event")
        found = status(lucky, delivered)
        proof.equal(found, "DELIVERED", "what was in flight at two crashes")
        # With the process alive, nobody waits for what is put aside.
        proof.equal(len(eventually("another one", lambda: sink.of(one(others[0])) or None)) >= 1, True, "it goes on")


def odd(daemon, sink, proof):
    """As odd as ingest allows: byte for byte to the endpoint, and shown as they came."""
    tenant = daemon.tenant("odd", sink.url("/odd"))
    nested = b'{"a":' * 127 + b"{}" + b"}" * 127
    for body in (
        nested, b'{"a":' + b"[" * 127 + b"]" * 127 + b"}", b"{" + b",".join(b'"%d":1' % n for n in range(20_000)) + b"}",
        b'{"lone":"\\ud800\\udc00\\udfff"}', b'{"nul":"\\u0000"}', b'{"a":1,"a":2}', b'{"n":1e400,"m":-0,"b":9223372036854775808}',
        b'{"a":"' + b"\\u0041" * 40_000 + b'"}', b' \r\n{ "\xc3\xbc" : "\xf0\x9f\x92\xa9" }\t\n', b'{"__proto__":{"x":1}}',
        b'{"a":"' + b"x" * (256 * 1024 - 8) + b'"}',
    ):  # fmt: skip
        event = one(tenant, body)
        proof.equal(sink.wait_for(event)[0].body == body, True, f"{body[:30]} arrives as it came")
        shown = tenant["client"].request("GET", f"/v1/events/{event}")
        proof.check(shown.status == 200 and body.strip() in shown.body, f"{body[:30]} is shown as it came")
    batch = b"[" + b",".join([nested, b'{"a":1}', b"{" + b"[" * 1000]) + b"]"
    answer = tenant["client"].request("POST", "/v1/events/batch", batch)
    proof.check(answer.status in (207, 400), f"a batch with a broken entry: {answer.status}")
    ids = post_batch(tenant["client"], ['{"a":1}'] * 3)
    eventually("what follows arrives", lambda: all(sink.of(event) for event in ids))
    known = list_all(tenant["client"])
    proof.check(set(ids) <= set(known), "what follows is listed")


def control(daemon, sink):
    """The same questions of a process that forgets at each crash what was in flight, and of an event that is held back:
    they find both."""
    wrong = Proof("control")
    crashes(daemon, sink, "forgotten", wrong, [], forget=True)
    asked = ("why it is dead", "attempts at the poison event")
    found = [fault for fault in wrong.faults if fault.startswith(asked)]
    must(len(found) == len(wrong.faults) == 2, f"a poison event that is tried again is not noticed: {wrong.faults}")
    held = daemon.tenant("held", sink.url("/held"), delivery={"paused": True})
    wrong = Proof("control")
    arrive(sink, [one(held)], wrong, HELD_BACK_S)
    must(wrong.tried == 1 and wrong.held == 0, "an event that never arrived counts as one that did")


def fewer(daemon):
    """What is in flight at fewer crashes is no poison."""
    with Silent(10**9) as never:
        tenant = daemon.tenant("twice", never.url)
        event = one(tenant)
        for crash in range(1, CRASHES):
            eventually("it is in flight", lambda: never.attempts(event) == crash)  # noqa: B023
            again(daemon, [tenant])
        eventually("it is tried again", lambda: never.attempts(event) == CRASHES)
        must(status(tenant, event) == "PENDING", "an event is poison after two crashes")


def main(binary):
    proof, late = Proof(15), []
    with ExitStack() as stack:
        sink = quiet(stack.enter_context(Sink()))
        settings = {"delivery.attempt-timeout": "10m", "drain.timeout": "11m", "retry.attempts-max": 1}
        daemon = Instance(binary, stack.enter_context(home()), **settings)
        stack.callback(lambda: daemon.process.poll() is None and daemon.kill())
        daemon.start()
        odd(daemon, sink, proof)
        for number in range(ROUNDS):
            crashes(daemon, sink, number, proof, late)
        proof.count(len(late), sum(it <= LATE_MAX_S for it in late), f"others arrive {LATE_MAX_S:.0f} s after a kill")
        proof.check(daemon.lives() and not daemon.panics(), f"it lives: {daemon.panics()[:3]}")
        note(f"others arrived {max(late):.2f} s after a kill at most, {percentile(late, 0.5):.2f} s in the middle")
        fewer(daemon)
        control(daemon, sink)
    yield proof.say("a process that forgets what was in flight, and an event that is held back: both noticed")


if __name__ == "__main__":
    run(main)
