"""Hostile callers over raw sockets, against the real process: whatever they send to the API and the authorizer.

    callers.py [PATH-OF-POSTHASTE]

Each request gets the documented answer; between any two of them another tenant's event is accepted; at the end nothing
is stored but what got a 201, and the process lives. Then slow heads by the hundred (long: by the ten thousand), beside
callers who are not slow.
"""

import gzip
import json
import re
import socket
import threading
import time
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import quote

from common import (
    LONG, TOP, Instance, Proof, body_of, eventually, home, list_all, many_files, must, note, percentile, place,
    post_batch, raw, run, statuses,
)  # fmt: skip
from posthaste import Sink, new_api_key

KIB = 1024
HEADER_TIMEOUT_S = 5.0 if LONG else 1.0
# Connections that send their heads a byte at a time.
SLOW = 9000 if LONG else 200
# So many of them are seen to end. (A long run lasts half a minute at least.)
SLOW_ENDS, SLOW_S = (SLOW, 30.0) if LONG else (2 * SLOW, 0.0)
PAUSE_S = 5.0 if LONG else 0.25
# Probes without slow heads, for comparison; and how long probes go on for what does not come.
CALM, PROBES_S_MAX = 300, 120.0
TARGETS = TOP / "crates/domain/tests/cases/target_urls.tsv"

World = namedtuple("World", "daemon acme other admin sink")


def request(line, key=None, body=None, fields=()):
    """A whole request in bytes. A field is a text, or bytes where it is no text."""
    lines = [line.encode() + b" HTTP/1.1", b"Host: x", b"Connection: close"]
    if key is not None:
        lines.append(b"Authorization: Bearer " + key.encode())
    lines += [field.encode() if isinstance(field, str) else field for field in fields]
    if body is not None and not any(line.lower().startswith((b"content-length", b"transfer-enc")) for line in lines):
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + (body or b"")


def nested(depth):
    return b'{"a":' * (depth - 1) + b"{}" + b"}" * (depth - 1)


def sized(size):
    return b'{"a":"' + b"x" * (size - 8) + b'"}'


def keys(number):
    return b"{" + b",".join(b'"%d":1' % n for n in range(number)) + b"}"


def bodies():
    """(name, body, status): what is an event, and what is none."""
    yield from [
        ("empty", b"", 400), ("null", b"null", 422), ("array", b"[]", 422), ("text", b'"x"', 422),
        ("256 KiB", sized(256 * KIB), 201), ("256 KiB and 1", sized(256 * KIB + 1), 413),
        ("depth 128", nested(128), 201), ("depth 129", nested(129), 400), ("depth 50,000", b'{"a":' * 50_000, 400),
        ("depth 10^6", b"[" * 1_000_000, 413), ("20,000 keys", keys(20_000), 201), ("10^5 keys", keys(100_000), 413),
        ("duplicate keys", b'{"a":1,"a":2}', 201), ("lone surrogate", b'{"a":"\\ud800"}', 201),
        ("NaN", b'{"a":NaN}', 400), ("1e400", b'{"a":1e400}', 201), ("2^63", b'{"a":9223372036854775808}', 201),
        ("-0", b'{"a":-0}', 201), ("NUL in a text", b'{"a":"\0"}', 400), ("escaped NUL", b'{"a":"\\u0000"}', 201),
        ("invalid UTF-8", b'{"a":"\xc3\x28"}', 400), ("BOM", b"\xef\xbb\xbf{}", 400),
        ("trailing garbage", b"{} x", 400), ("two objects", b"{}{}", 400), ("gzip, not said", gzip.compress(b"{}"), 400),
    ]  # fmt: skip


def ingest(world):
    """(name, request, statuses) of everything that is wrong with posting an event."""
    key = world.acme["api_key"]
    for name, body, status in bodies():
        yield name, request("POST /v1/events", key, body), [status]
    for name, fields, status in [
        ("gzip body", ["Content-Encoding: gzip"], 415),
        ("no Content-Type", [], 201),
        ("text/plain", ["Content-Type: text/plain"], 201),
        ("utf-16", ["Content-Type: application/json; charset=utf-16"], 201),
        ("Idempotency-Key empty", ["Idempotency-Key:"], 400),
        ("Idempotency-Key of 256", ["Idempotency-Key: " + "k" * 256], 400),
        ("Idempotency-Key with a space", ["Idempotency-Key: a b"], 400),
        ("Idempotency-Key of no text", [b"Idempotency-Key: \xff"], 400),
        ("two Idempotency-Keys", ["Idempotency-Key: a", "Idempotency-Key: b"], 400),
        ("control byte in a field", [b"Idempotency-Key: a\x01b"], 400),
        ("NUL in a field", [b"X: a\0b"], 400),
        ("name with a space", [b"X Y: a"], 400),
        ("obs-fold", [b"X: a\r\n b"], 400),
        ("100 fields", [f"X-{n}: a" for n in range(95)], 201),
        ("200 fields", [f"X-{n}: a" for n in range(200)], 431),
        ("head of 1 MiB", ["X: " + "x" * (1 << 20)], 431),
        ("Host spoofed", ["X-Forwarded-Host: evil.example.com"], 201),
        ("Expect something", ["Expect: 200-maybe"], 201),
    ]:
        yield name, request("POST /v1/events", key, b'{"a":1}', fields), [status]
    declared = request("POST /v1/events", key, b"{", ["Content-Length: 10485760"])
    yield "10 MiB declared, 1 byte sent", declared, [413]


def framing(world):
    """Where a request ends, told wrongly: what stands behind must not become a request of its own."""
    key = world.acme["api_key"]
    smuggled = request("POST /v1/events", key, b'{"smuggled":1}')
    line = "POST /v1/events"
    length = f"Content-Length: {len(smuggled) + 5}"
    chunked = "Transfer-Encoding: chunked"
    for name, fields, body, expected in [
        ("CL.TE", [length, chunked], b"0\r\n\r\n" + smuggled, [400]),
        ("TE.CL", [chunked, "Content-Length: 4"], b"5c\r\n" + smuggled + b"\r\n0\r\n\r\n", [400]),
        ("TE.TE", [chunked, "Transfer-Encoding: x"], b"0\r\n\r\n" + smuggled, [400]),
        ("TE with a tab", ["Transfer-Encoding:\tchunked", length], b"0\r\n\r\n" + smuggled, [400]),
        ("TE gzip, chunked", ["Transfer-Encoding: gzip, chunked"], b"0\r\n\r\n" + smuggled, [400]),
        ("TE xchunked", ["Transfer-Encoding: xchunked"], smuggled, [400]),
        ("TE chunked twice", ["Transfer-Encoding: chunked, chunked"], b"0\r\n\r\n" + smuggled, [400]),
        ("two lengths", ["Content-Length: 2", length], b"{}" + smuggled, [400]),
        ("length +2", ["Content-Length: +2"], b"{}" + smuggled, [400]),
        ("length 2, 2", ["Content-Length: 2, 2"], b"{}", [400]),
        ("length 0x2", ["Content-Length: 0x2"], b"{}", [400]),
        ("length -1", ["Content-Length: -1"], b"{}" + smuggled, [400]),
        ("length 2^64", ["Content-Length: 18446744073709551616"], b"{}", [400]),
        ("chunk of zz", [chunked], b"zz\r\n{}\r\n0\r\n\r\n", [400]),
        ("chunk of 2^64", [chunked], b"10000000000000000\r\n{}\r\n", [400]),
        ("chunk of -2", [chunked], b"-2\r\n{}\r\n0\r\n\r\n", [400]),
        ("chunk with bare LF", [chunked], b"2\n{}\n0\n\n", [400]),
        ("chunk extension of 1 MiB", [chunked], b"2;" + b"e" * (1 << 20) + b"\r\n{}\r\n0\r\n\r\n", [400]),
        ("body behind a GET's length", ["Content-Length: 0"], smuggled, [400]),
    ]:
        yield name, request(line, key, body, fields), expected
    # Lawful: two requests one behind the other are two.
    two = smuggled.replace(b"Connection: close\r\n", b"") + request("GET /receiver/health")
    yield "two requests in a row", two, [201, 200]
    for name, sent in [
        ("not HTTP", b"SSH-2.0-OpenSSH_9.6\r\n\r\n"),
        ("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        ("TLS", bytes([0x16, 3, 1, 0, 5, 1, 0, 0, 1, 0])),
        ("HTTP/3.7", b"GET / HTTP/3.7\r\n\r\n"),
        ("no target", b"GET  HTTP/1.1\r\n\r\n"),
        ("CR alone", b"GET / HTTP/1.1\rHost: x\r\r"),
        ("name with NUL", b"GET / HTTP/1.1\r\nHo\0st: x\r\n\r\n"),
    ]:
        yield name, sent, None


def routes(world):
    """Methods, paths and queries."""
    key, event = world.acme["api_key"], world.acme["event"]
    yield "TRACE", request("TRACE /v1/events", key), [405]
    yield "CONNECT", request("CONNECT example.com:443", key), [404]
    yield "CONNECT a path", request("CONNECT /v1/events", key), None
    yield "HEAD", request("HEAD /v1/events", key), [200]
    yield "PUT", request("PUT /v1/events", key, b"{}"), [405]
    yield "method get", request("get /v1/events", key), [405]
    for field in ("X-HTTP-Method-Override: DELETE", "X-Original-URL: /v1/admin/dlq/purge", "X-Rewrite-URL: /x"):
        yield field, request("GET /v1/events", key, fields=[field]), [200]
    for path in (
        "//v1/events", "/v1/events/", "/v1/%65vents", "/v1/events;x", "/v1/./events", "/v1/x/../events", "/V1/events",
        "/v1/events%00", "/v1/events%2f", "/v1", "/metrics", "/livez", "/endpoints", "/" + "a" * 8000, "*",
    ):  # fmt: skip
        yield path[:30], request(f"GET {path}", key), [404]
    yield "a whole URL", request("GET http://evil.example.com/v1/events", key), [200]
    for query in (
        "limit=0", "limit=-1", "limit=101", "limit=1e9", "limit=abc", "limit=", "limit=5&limit=5", "status=NOPE",
        "next_token=", "next_token=garbage", "next_token=" + "A" * 10 * KIB, "tenant_id=other", "limit=99999999999999999999",
    ):  # fmt: skip
        yield query[:30], request(f"GET /v1/events?{query}", key), [400]
    yield from tokens(world)
    for name, line, status in [
        ("event of another tenant", f"GET /v1/events/{world.other['event']}", 404),
        ("retry of another tenant's", f"POST /v1/events/{world.other['event']}/retry", 404),
        ("retry of a delivered event", f"POST /v1/events/{event}/retry", 400),
        ("retry of no event", "POST /v1/events/evt_00000000000000000000000000/retry", 404),
        ("event with another spelling", f"GET /v1/events/{event.lower()}", 404),
        ("event ../x", "GET /v1/events/..%2fx", 404),
        ("event of 10 KiB", "GET /v1/events/" + "e" * 10 * KIB, 404),
        ("another tenant", "GET /v1/tenants/other", 403),
        ("tenant __GLOBAL_CONFIG__", "GET /v1/tenants/__GLOBAL_CONFIG__", 403),
        ("tenant %2e%2e", "GET /v1/tenants/%2e%2e", 403),
    ]:
        yield name, request(line, key, b"" if line.startswith("POST") else None), [status]


def tokens(world):
    """Page tokens that are another's, another query's, or changed by one bit."""
    token = world.acme["client"].json("GET", "/v1/events?limit=1")["next_token"]
    yield "token", request(f"GET /v1/events?limit=1&next_token={token}", world.acme["api_key"]), [200]
    yield "another tenant's token", request(f"GET /v1/events?next_token={token}", world.other["api_key"]), [400]
    other_query = f"GET /v1/events?status=DLQ&next_token={token}"
    yield "another query's token", request(other_query, world.acme["api_key"]), [400]
    for place_ in range(0, len(token), 5):
        bent = token[:place_] + ("A" if token[place_] != "A" else "B") + token[place_ + 1 :]
        yield f"token bent at {place_}", request(f"GET /v1/events?next_token={bent}", world.acme["api_key"]), [400]


def changes(world):
    """What a tenant may not become."""
    key = world.acme["api_key"]
    line = "PATCH /v1/tenants/acme"
    for name, body, status in [
        ("nothing", {}, 400),
        ("unknown field", {"status": "DELIVERED"}, 422),
        ("tenant_id", {"tenant_id": "other"}, 422),
        ("number for a URL", {"target_url": 1}, 422),
        ("null for a URL", {"target_url": None}, None),
        ("short secret", {"webhook_secret": "x"}, 400),
        ("header that breaks out", {"delivery": {"headers": {"X": "a\r\nY: b"}}}, 422),
        ("header that breaks out by LF", {"delivery": {"headers": {"X": "a\nHost: evil"}}}, 422),
        ("header with NUL", {"delivery": {"headers": {"X": "\0"}}}, 422),
        ("header Host", {"delivery": {"headers": {"Host": "evil"}}}, 400),
        ("header Transfer-Encoding", {"delivery": {"headers": {"Transfer-Encoding": "chunked"}}}, 400),
        ("header Expect", {"delivery": {"headers": {"Expect": "100-continue"}}}, 400),
        ("header Upgrade", {"delivery": {"headers": {"Upgrade": "h2c"}}}, 400),
        ("header Connection", {"delivery": {"headers": {"Connection": "close, x-y"}}}, 400),
        ("header Content-Length", {"delivery": {"headers": {"Content-Length": "0"}}}, 400),
        ("header Proxy-Authorization", {"delivery": {"headers": {"Proxy-Authorization": "x"}}}, 400),
        ("header webhook-id", {"delivery": {"headers": {"webhook-id": "x"}}}, 400),
        ("header twice", {"delivery": {"headers": {"X-A": "a", "x-a": "b"}}}, 400),
        ("header with a space", {"delivery": {"headers": {"X A": "a"}}}, 422),
        ("header with a colon", {"delivery": {"headers": {"X:A": "a"}}}, 422),
        ("header without a name", {"delivery": {"headers": {"": "a"}}}, 422),
        ("header of 5 KiB letters", {"delivery": {"headers": {"x" * 5120: "a"}}}, 400),
        ("header not ASCII", {"delivery": {"headers": {"\u00fc": "a"}}}, 422),
        ("header :authority", {"delivery": {"headers": {":authority": "a"}}}, 422),
        ("header of 64 KiB", {"delivery": {"headers": {"X": "a" * 65536}}}, 400),
        ("101 headers", {"delivery": {"headers": {f"X-{n}": "a" for n in range(101)}}}, 422),
        ("header Stripe-Signature", {"delivery": {"headers": {"Stripe-Signature": "t=1"}}}, 400),
    ]:
        expected = None if status is None else [status]
        yield f"PATCH {name}", request(line, key, json.dumps(body).encode()), expected


def targets(binary, proof):
    """Every line of the case list, as a change of a tenant, in a process where no network is open."""
    with home() as folder:
        strict = Instance(binary, folder)
        del strict.settings["delivery.allow-networks"]
        with strict:
            client = strict.tenant("acme", "https://example.com/")["client"]
            for line in TARGETS.read_text().splitlines():
                if line.startswith("#"):
                    continue
                verdict, _, url = line.partition("\t")
                for text, byte in ("\\t", "\t"), ("\\r", "\r"), ("\\n", "\n"), ("\\0", "\0"):
                    url = url.replace(text, byte)
                status = client.request("PATCH", "/v1/tenants/acme", json.dumps({"target_url": url}).encode()).status
                proof.equal(status, 400 if verdict == "R" else 200, f"target {line}")


def callers(world):
    """Headers that are no key of ours."""
    key = world.acme["api_key"]
    mistyped = key[:-1] + ("a" if key[-1] != "a" else "b")
    line = "GET /v1/events"
    for name, fields in [
        ("no header", []),
        ("Bearer", ["Authorization: Bearer"]),
        ("bearer x", ["Authorization: bearer x"]),
        ("two spaces", [f"Authorization: Bearer  {key}"]),
        ("Basic", ["Authorization: Basic YWNtZTpzZWNyZXQ="]),
        ("two headers", [f"Authorization: Bearer {key}"] * 2),
        ("8 KiB", ["Authorization: Bearer " + "x" * 8192]),
        ("not ASCII", [b"Authorization: Bearer \xc3\xbc" * 1]),
        ("wrong checksum", [f"Authorization: Bearer {mistyped}"]),
        ("right form, unknown", [f"Authorization: Bearer {new_api_key()}"]),
        ("revoked", [f"Authorization: Bearer {world.acme['revoked']}"]),
        ("guessable", ["Authorization: Bearer tenant_acme_key"]),
        ("in the query", []),
        ("in another header", [f"X-Api-Key: {key}"]),
        ("in a cookie", [f"Cookie: authorization={key}"]),
    ]:
        target = line + f"?api_key={quote(key)}" if name == "in the query" else line
        yield f"caller: {name}", request(target, fields=fields), [401]
    yield "caller: any case of Bearer", request(line, fields=[f"Authorization: bEARER {key}"]), [200]


def try_all(world, proof):
    """Every request, and in between another tenant's event. Gives how many events acme may have."""
    accepted = 0
    for cases in (ingest, framing, routes, changes, callers):
        for name, sent, expected in cases(world):
            answer = raw(world.daemon.api, sent)
            found = statuses(answer)
            accepted += found.count(201)
            if expected is None:
                holds = all(400 <= status < 500 for status in found)
            else:
                holds = found == expected
            proof.check(holds, f"{name}: {found} instead of {expected}: {answer[:200]!r}")
            for status in found:
                must_be_documented = status < 400 or status == 431 or b"detail" in answer or not body_of(answer)
                proof.check(status < 500 and must_be_documented, f"{name}: {answer[:300]!r}")
            beside = world.other["client"].request("POST", "/v1/events", b"{}")
            proof.check(beside.status == 201, f"another tenant, after {name}: {beside.status}")
    return accepted


def at_once(world, proof):
    """The same, at the same time."""
    acme, other = world.acme["client"], world.other["client"]
    same = {"Idempotency-Key": "at-once"}
    with ThreadPoolExecutor(32) as pool:
        posts = [pool.submit(acme.request, "POST", "/v1/events", b"{}", same) for _ in range(100)]
        answers = {(it.result().status, it.result().body) for it in posts}
    proof.check(len(answers) == 1 and next(iter(answers))[0] == 201, f"one key, 100 at once: {answers}")
    conflict = acme.request("POST", "/v1/events", b'{"another":1}', same)
    proof.equal(conflict.status, 409, "one key, another body")
    foreign = other.request("POST", "/v1/events", b"{}", same)
    proof.check(foreign.status == 201 and foreign.body != next(iter(answers))[1], "one key, another tenant")
    waiting = world.daemon.tenant("waiting", world.sink.url("/waiting"), delivery={"paused": True})
    [event] = post_batch(waiting["client"], ["{}"])
    early = waiting["client"].request("POST", f"/v1/events/{event}/retry", b"")
    proof.equal(early.status, 400, "retry of an event that waits")
    dead = world.daemon.tenant("dying", world.sink.url("/gone"))
    world.sink.answers["/gone"] = [410] * 100
    post_batch(dead["client"], ["{}"] * 40)
    eventually("40 are dead", lambda: len(list_all(dead["client"], "DLQ")) == 40)
    with ThreadPoolExecutor(4) as pool:
        half = json.dumps({"maxMessages": 20}).encode()
        twice = [pool.submit(dead["client"].json, "POST", "/v1/admin/dlq/requeue", half) for _ in range(2)]
        purge = pool.submit(dead["client"].json, "POST", "/v1/admin/dlq/purge")
        requeued = sum(it.result()["requeued"] for it in twice)
        purge.result()
    # Requeued ones die again, or were purged before; nothing is in two places.
    over = {"DLQ", "PURGED"}
    eventually("each is in one place", lambda: set(list_all(dead["client"]).values()) <= over)
    found = list_all(dead["client"])
    proof.check(len(found) == 40 and requeued <= 40, f"{requeued} requeued of {len(found)}")


def slow_heads(world, proof):
    """Heads that come a byte at a time, on very many connections: each ends by the deadline, others do not notice."""
    ended, stop = [], threading.Event()

    def drip(share):
        held = {}
        head = b"POST /v1/events HTTP/1.1\r\nHost: x\r\nX-Slow: " + b"s" * 10_000
        while not stop.is_set():
            while len(held) < share and not stop.is_set():
                since = time.monotonic()
                stream = socket.create_connection(place(world.daemon.api), timeout=60)
                stream.setblocking(False)
                held[stream] = [since, 0]
            for stream, state in list(held.items()):
                try:
                    stream.send(head[state[1] : state[1] + 1])
                    state[1] += 1
                    over = stream.recv(1024) == b""
                except BlockingIOError:
                    over = False
                except OSError:
                    over = True
                if over:
                    ended.append(time.monotonic() - state[0])
                    held.pop(stream).clear()
                    stream.close()
            stop.wait(PAUSE_S)
        for stream in held:
            stream.close()

    threads = [threading.Thread(target=drip, args=(SLOW // 4,), daemon=True) for _ in range(4)]
    calm = probes(world, lambda found: len(found) >= CALM)
    began = time.monotonic()
    for thread in threads:
        thread.start()
    try:
        beside = probes(world, lambda _: len(ended) >= SLOW_ENDS and time.monotonic() > began + SLOW_S)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    proof.check(all(status == 201 for status, _ in calm + beside), "somebody is refused beside slow heads")
    proof.check(len(ended) >= SLOW_ENDS, f"only {len(ended)} slow heads ended of {SLOW_ENDS}")
    # A drip sees its end with its next byte or two.
    least, most = 0.9 * HEADER_TIMEOUT_S, HEADER_TIMEOUT_S + 3 * PAUSE_S + 5.0
    held = sum(least <= took <= most for took in ended)
    proof.count(len(ended), held, f"slow heads end after {least:.1f} to {most:.1f} s")
    note(
        f"{len(ended)} slow heads of {SLOW} at a time ended, after {percentile(ended, 0.5):.1f} s (median); beside them p99 "
        f"{percentile([ms for _, ms in beside], 0.99):.1f} ms, without {percentile([ms for _, ms in calm], 0.99):.1f} ms"
    )


def probes(world, over):
    """Events of another tenant until `over` says so, each on a connection of its own: (status, ms)."""
    found, end = [], time.monotonic() + PROBES_S_MAX
    while not over(found) and time.monotonic() < end:
        start = time.monotonic()
        status = world.other["client"].request("POST", "/v1/events", b"{}").status
        found.append((status, (time.monotonic() - start) * 1000))
    return found


def setup(stack, binary):
    sink = stack.enter_context(Sink())
    settings = {"server.header-timeout": f"{int(HEADER_TIMEOUT_S * 1000)}ms", "server.body-timeout": "1s"}
    settings |= {"retry.attempts-max": 1, "log.level": "debug"}
    daemon = stack.enter_context(Instance(binary, stack.enter_context(home()), **settings))
    acme, other = (daemon.tenant(name, sink.url(f"/{name}")) for name in ("acme", "other"))
    for tenant in (acme, other):
        ids = post_batch(tenant["client"], ["{}"] * 3)
        tenant["event"] = ids[0]
        eventually("delivered", lambda: set(list_all(tenant["client"]).values()) == {"DELIVERED"})  # noqa: B023
    spare = acme["client"].json("POST", "/v1/tenants/acme/keys", expect=201)
    acme["client"].json("DELETE", f"/v1/tenants/acme/keys/{spare['key_id']}")
    acme["revoked"] = spare["api_key"]
    return World(daemon, acme, other, daemon.admin_key, sink)


def main(binary):
    many_files()
    proof = Proof("25")
    with ExitStack() as stack:
        world = setup(stack, binary)
        accepted = try_all(world, proof)
        targets(binary, proof)
        proof.equal(len(list_all(world.acme["client"])), accepted + 3, "events stored, and 201s")
        at_once(world, proof)
        slow_heads(world, proof)
        proof.check(world.daemon.lives() and not world.daemon.panics(), f"it lives: {world.daemon.panics()[:3]}")
        control(world)
    yield proof.say("answers of another case, and an event too many: each noticed")


def control(world):
    """The same questions about other requests than were sent: each finds it."""
    wrong = Proof("control")
    good = raw(world.daemon.api, request("POST /v1/events", world.acme["api_key"], b"{}"))
    wrong.check(statuses(good) == [400], "")
    wrong.equal(len(list_all(world.acme["client"])), 0, "")
    must(wrong.held == 0 and wrong.tried == 2, "a wrong answer is not noticed")
    must(re.search(rb'"event_id"', good), "the control was not accepted")


if __name__ == "__main__":
    run(main)
