"""No secret leaves its place, against the real process (promise 24 of docs/SEMANTICS.md).

    canaries.py [PATH-OF-POSTHASTE]

Secrets, API keys, payloads, target URLs and values of headers are strings that stand nowhere else. A day in the life of
two tenants follows, with deliveries that succeed and fail in every way, requests that are refused, reloads, crashes and a
poison event, all of it logged as loudly as it goes. Then everything that the process has said is searched: logs, metrics,
admin routes, answers to errors, and the data directory.

Where what may stand: a payload and a target URL in its own tenant's answers; a secret and a key in the one answer that
makes them; all of them but keys in the ledger, which is not encrypted, in a directory that only its owner reads. A key is
kept as a hash. What is in a header's value comes out nowhere.
"""

import base64
import json
import os
import secrets
import signal
import socket
import stat
import subprocess
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import quote

from common import Instance, Proof, eventually, home, must, note, quiet, run
from posthaste import PATIENCE_S, Api, Sink, new_api_key

LOUDEST = "trace," + ",".join(
    f"{name}=trace" for name in ("hyper", "hyper_util", "rustls", "hickory_resolver", "hickory_proto", "tower", "axum", "mio")
)
SETTINGS = {
    "log.level": LOUDEST,
    "delivery.attempt-timeout": "2s",
    "delivery.connect-timeout": "1s",
    "retry.delays": "50ms",
    "retry.attempts-max": 2,
    "isolation.breaker-failures": 2,
    "isolation.breaker-hold": "20ms",
    "isolation.breaker-hold-max": "50ms",
}
CRASHES = 3


class Told:
    """Everything that the process says: {where: text}."""

    def __init__(self):
        self.texts = {}

    def add(self, where, text):
        self.texts.setdefault(where, []).append(text if isinstance(text, bytes) else str(text).encode())

    def search(self, mark):
        return [where for where, texts in self.texts.items() if any(form in text for text in texts for form in forms(mark))]


def forms(mark):
    """How a string may stand: as it is, in hex, in base64 at each of its three places, percent-encoded byte for byte."""
    raw = mark.encode()
    yield raw
    yield raw.hex().encode()
    yield raw[::-1]
    for before in range(3):
        coded = base64.b64encode(b"\0" * before + raw)
        # Without what its neighbours have a part in.
        yield coded[4 if before else 0 : -4]
    yield quote(raw, safe="").encode()
    yield "".join(f"%{byte:02x}" for byte in raw).encode()


# Of a tenant's record, which nobody reads without the key.
SEALED = ("secret", "old-secret", "header", "other-header", "path", "query")


class Marks(dict):
    """{kind: string}; new ones for every run."""

    def __init__(self):
        kinds = ("secret", "old-secret", "payload", "path", "query", "header", "other-header", "refused")
        super().__init__({kind: f"cnry-{kind}-{secrets.token_hex(9)}" for kind in kinds})


class Day:
    """Two tenants and a process, and what it tells."""

    def __init__(self, stack, binary, marks):
        self.binary, self.marks, self.told = binary, marks, Told()
        self.folder = Path(stack.enter_context(home()))
        self.config("before")
        self.sink = quiet(stack.enter_context(Sink()))
        self.daemon = Instance(binary, self.folder, **SETTINGS)
        stack.callback(lambda: self.daemon.process.poll() is None and self.daemon.kill())
        self.daemon.start()
        self.keys = [self.daemon.admin_key]

    def config(self, suffix, more=""):
        (self.folder / "posthaste.toml").write_text(f'[delivery]\nuser-agent-suffix = "{suffix}"\n{more}')

    def begin(self):
        marks = self.marks
        self.target = self.sink.url(f"/{marks['path']}?token={marks['query']}")
        fields = {
            "webhook_secret": marks["old-secret"],
            "delivery": {"headers": {"Authorization": f"Bearer {marks['header']}", "X-Own": marks["other-header"]}},
        }
        self.acme = self.daemon.tenant("acme", self.target, **fields)
        self.other = self.daemon.tenant("other", self.sink.url("/other"))
        self.keys += [self.acme["api_key"], self.other["api_key"]]
        second = self.acme["client"].json("POST", "/v1/tenants/acme/keys", expect=201)
        self.keys.append(second["api_key"])
        self.acme["client"].json("DELETE", f"/v1/tenants/acme/keys/{second['key_id']}")
        self.ask("PATCH", "/v1/tenants/acme", {"webhook_secret": marks["secret"]})
        self.payload = json.dumps({"note": marks["payload"]}).encode()

    def ask(self, method, path, body=None, key=None, headers=()):
        """Asks as acme; what comes back is told, without what is acme's own to see."""
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        answer = Api(self.daemon.api, key or self.acme["api_key"]).request(method, path, body, headers)
        where = f"answer {answer.status} of {method} {path.split('?')[0][:20]}"
        self.told.add(where, str(answer.headers))
        if answer.status >= 400:
            self.told.add(where, answer.body)
        else:
            self.told.add(where, json.dumps(without(json.loads(answer.body), {"payload", "target_url"})))
        return answer

    def post(self):
        return json.loads(self.ask("POST", "/v1/events", self.payload).body)["event_id"]

    def ends(self, event, *statuses):
        def probe():
            detail = json.loads(self.ask("GET", f"/v1/events/{event}").body)["event"]
            return detail["status"] in statuses and detail

        return eventually(f"{event} is {statuses}", probe)

    def deliveries(self):
        """One that succeeds, and one that fails in each way."""
        path = f"/{self.marks['path']}"
        ok = self.post()
        self.ends(ok, "DELIVERED")
        tail = f"{path}?token={self.marks['query']}"
        for target in (
            self.target,
            f"http://127.0.0.1:{self.closed()}{tail}",
            f"https://127.0.0.1:{self.sink.server.server_port}{tail}",
            f"http://127.0.0.1:{self.silent()}{tail}",
        ):
            self.ask("PATCH", "/v1/tenants/acme", {"target_url": target})
            self.sink.answers[tail] = [500, 301, 503, 429]
            dead = self.post()
            self.ends(dead, "DLQ", "FAILED")
            # While its endpoint is left alone, it is named here.
            self.leave()
        self.sink.answers.clear()
        # A name that is none, or that no name server is there to ask for: whose fault that is depends on the machine.
        self.ask("PATCH", "/v1/tenants/acme", {"target_url": f"http://nowhere.invalid{tail}"})
        self.post()
        eventually("it is looked up", lambda: any("nowhere.invalid" in line for line in self.daemon.lines))
        for method, path in (("GET", "/v1/admin/dlq/messages"), ("POST", "/v1/admin/dlq/requeue"), ("GET", "/v1/events")):
            self.ask(method, path)
            self.ask(method, path.replace("/v1/events", "/v1/admin/dlq/messages"), key=self.daemon.admin_key)
        self.ask("PATCH", "/v1/tenants/acme", {"target_url": self.target})

    def silent(self):
        """A port where a connection is taken and nothing is ever said."""
        self.listener = socket.create_server(("127.0.0.1", 0))
        return self.listener.getsockname()[1]

    def closed(self):
        """A port that is taken and where nobody listens."""
        self.taken = socket.socket()
        self.taken.bind(("127.0.0.1", 0))
        return self.taken.getsockname()[1]

    def refusals(self):
        """What a caller gets wrong, with something in it that is nobody's business."""
        refused, payload = self.marks["refused"], self.marks["payload"]
        for body in (
            f'{{"note":"{payload}"'.encode(), f'["{payload}"]'.encode(), f'"{payload}"'.encode(),
            b"\xff" + payload.encode(), f'{{"{payload}":NaN}}'.encode(), b'{"a":"' + payload.encode() * 9000 + b'"}',
        ):  # fmt: skip
            self.ask("POST", "/v1/events", body)
        self.ask("POST", "/v1/events/batch", f'[{{"note":"{payload}"}},["{payload}"],{{"a":}}]'.encode())
        self.ask("POST", "/v1/events", b"{}", headers={"Idempotency-Key": f"{refused} x"})
        self.ask("POST", "/v1/events", b"{}", headers={"Content-Encoding": refused})
        for change in (
            {"target_url": f"http://user:{refused}@example.com/"}, {"target_url": f"http://10.0.0.1/{refused}"},
            {"target_url": f"ftp://example.com/{refused}"}, {"target_url": f"http://example.com/{refused}#x"},
            {"webhook_secret": f"{refused} with spaces"}, {"webhook_secret": refused * 20},
            {"delivery": {"headers": {"X": f"{refused}\r\nY: b"}}}, {"delivery": {"headers": {"Host": refused}}},
            {"delivery": {"headers": {"X": refused * 500}}}, {"webhook_secret": {"x": refused}},
        ):  # fmt: skip
            self.ask("PATCH", "/v1/tenants/acme", change)
        for key in (refused, f"{self.keys[1][:-1]}!", new_api_key()):
            self.ask("GET", "/v1/events", key=key)
        self.ask("GET", f"/v1/events?api_key={self.keys[1]}")
        self.ask("GET", f"/v1/events/{refused}")
        self.ask("GET", f"/v1/events?next_token={refused}")
        self.ask("GET", "/v1/tenants/acme", key=self.other["api_key"])
        for signature in (f"t=1,v1={refused}", f"{refused}"):
            self.ask("POST", "/receiver/acme/webhook", self.payload, headers={"Stripe-Signature": signature})

    def reloads(self):
        """One that changes something, which is logged, and one that is wrong."""
        self.keys.append(new_api_key())
        (self.folder / "admin-key").write_text(self.keys[-1])
        self.config("planted-on-purpose")
        self.hup("user-agent-suffix")
        self.daemon.admin_key = self.keys[-1]
        self.daemon.operator().json("GET", "/v1/tenants/acme")
        for wrong in self.marks["refused"], new_api_key():
            self.keys.append(wrong)
            self.config("planted-on-purpose", f'[auth]\nadmin-key = "{wrong}"\n')
            self.hup("the old configuration holds on")
        for command in (["check"], ["config"], ["config", "--json"]):
            made = subprocess.run(
                [self.daemon.binary, *command, "--config", self.folder / "posthaste.toml"], capture_output=True
            )
            self.told.add(f"posthaste {command[0]}", made.stdout + made.stderr)
        self.config("planted-on-purpose")

    def hup(self, done):
        lines = lambda: sum(done in line for line in self.daemon.lines)  # noqa: E731
        before = lines()
        self.daemon.process.send_signal(signal.SIGHUP)
        eventually("a reload is told", lambda: lines() > before)

    def crashes(self):
        """An event that is in flight at three crashes."""
        hung = f"http://127.0.0.1:{self.silent()}/{self.marks['path']}?token={self.marks['query']}"
        self.ask("PATCH", "/v1/tenants/acme", {"target_url": hung})
        self.daemon.settings |= {"delivery.attempt-timeout": "5m", "drain.timeout": "6m"}
        self.restart()
        poison = self.post()
        for _ in range(CRASHES):
            # The request is there: the attempt is in the register.
            held = self.in_flight(poison)
            self.restart()
            for connection in held:
                connection.close()
        self.ends(poison, "DLQ")
        letters = json.loads(self.ask("GET", "/v1/admin/dlq/messages").body)["messages"]
        causes = {letter["body"]["eventId"]: letter["attributes"]["cause"] for letter in letters}
        must(causes.get(poison) == "poison", f"the event in flight at three crashes is no poison: {causes}")

    def in_flight(self, event):
        """Takes connections until one brings this event; nobody is answered."""
        self.listener.settimeout(PATIENCE_S)
        held = []
        while not held or event.encode() not in held[-1].recv(65536):
            held.append(self.listener.accept()[0])
        return held

    def restart(self):
        self.leave()
        self.daemon.kill()
        self.told.add("log", "\n".join(self.daemon.lines))
        self.daemon.start()

    def leave(self):
        """What the admin's routes say."""
        for path in ("/metrics", "/endpoints", "/readyz", "/livez"):
            answer = Api(self.daemon.admin).request("GET", path)
            self.told.add(f"admin {path}", answer.body + str(answer.headers).encode())

    def end(self):
        self.leave()
        self.daemon.stop()
        self.told.add("log", "\n".join(self.daemon.lines))


def without(value, names):
    """JSON without the fields of these names."""
    if isinstance(value, dict):
        return {name: without(it, names) for name, it in value.items() if name not in names}
    return [without(it, names) for it in value] if isinstance(value, list) else value


def files(folder):
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != "ballast":
            yield path, path.read_bytes()


def on_disk(day, proof):
    """Keys are nowhere, and what is sealed is nowhere in the clear; payloads are in the ledger and nowhere beside it;
    nobody but the owner reads it."""
    data = day.folder / "data"
    proof.equal(stat.S_IMODE(os.stat(data).st_mode), 0o700, "who may read the data directory")
    contents = list(files(data))
    for key in day.keys:
        found = [str(path) for path, content in contents if any(form in content for form in forms(key))]
        proof.equal(found, [], "files with a key in them")
    outside = [(path, content) for path, content in contents if path.relative_to(data).parts[0] != "ledger"]
    for kind, mark in day.marks.items():
        found = [str(path) for path, content in outside if any(form in content for form in forms(mark))]
        proof.equal(found, [], f"files beside the ledger with the {kind}")
    for kind in SEALED:
        found = [str(path) for path, content in contents if any(form in content for form in forms(day.marks[kind]))]
        proof.equal(found, [], f"files with the {kind}, which is sealed")
    in_ledger = {kind for kind, mark in day.marks.items() if any(mark.encode() in content for _, content in contents)}
    return in_ledger


def main(binary):
    proof = Proof(24)
    with ExitStack() as stack:
        day = Day(stack, binary, Marks())
        day.begin()
        for part in (day.deliveries, day.refusals, day.reloads, day.crashes):
            part()
        proof.check(not day.daemon.panics(), f"no panic: {day.daemon.panics()[:2]}")
        day.end()
        size = sum(len(text) for texts in day.told.texts.values() for text in texts)
        for kind, mark in day.marks.items():
            found = day.told.search(mark)
            proof.equal(found, [], f"the {kind} is told")
        for number, key in enumerate(day.keys):
            proof.equal(day.told.search(key), [], f"key {number} is told")
        in_ledger = on_disk(day, proof)
        note(f"{size // 1024} KiB were told in {len(day.told.texts)} places; in the ledger: {sorted(in_ledger)}")

        must("log" in day.told.search("planted-on-purpose"), "a line that was logged on purpose is not found")
        must("payload" in in_ledger, "what is in the ledger is not found there")
        for form in forms(day.marks["payload"]):
            planted = Told()
            planted.add("log", b"x" + form + b"y")
            must(planted.search(day.marks["payload"]) == ["log"], f"{form} is not found")
    yield proof.say("a setting that a reload logs, payloads in the ledger, and each encoding planted: found")


if __name__ == "__main__":
    run(main)
