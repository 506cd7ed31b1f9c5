"""Tenants are apart on every route of the running process, and a revoked key stops (promises 25 and 26 of docs/SEMANTICS.md).

    tenants.py [PATH-OF-POSTHASTE]

The routes are those of the process's own OpenAPI documents; a route without a row is a fault. Everything of the tenant
`acme` has a canary in it, and no answer to anybody else but the admin has one.
"""

import json
import secrets
import threading
import time
from collections import namedtuple
from contextlib import ExitStack

from common import LONG, Instance, Proof, eventually, home, list_all, must, note, run
from posthaste import Api, Sink, new_api_key

Row = namedtuple("Row", "body own other admin")

# What a route answers to the tenant whose things the request names, to another tenant, to the admin. A key that is
# missing, revoked, unknown or cut short gets 401 wherever a key is asked for. "Wrong scope" is a tenant's key where the
# admin's is asked for, and the reverse.
ROWS = {
    "POST /v1/events": Row(b"{}", 201, 201, 403),
    "POST /v1/events/batch": Row(b"[{}]", 207, 207, 403),
    "GET /v1/events": Row(None, 200, 200, 403),
    "GET /v1/events/{event_id}": Row(None, 200, 404, 403),
    "POST /v1/events/{event_id}/retry": Row(b"", 200, 404, 403),
    "POST /v1/tenants": Row(b"NEW", 403, 403, 201),
    "GET /v1/tenants/{tenant_id}": Row(None, 200, 403, 200),
    "PATCH /v1/tenants/{tenant_id}": Row(b'{"delivery":{"paused":false}}', 200, 403, 200),
    "POST /v1/tenants/{tenant_id}/lift": Row(b"", 200, 403, 200),
    "POST /v1/tenants/{tenant_id}/keys": Row(b"", 201, 403, 201),
    "GET /v1/tenants/{tenant_id}/keys": Row(None, 200, 403, 200),
    "DELETE /v1/tenants/{tenant_id}/keys/{key_id}": Row(None, 200, 403, 200),
    "GET /v1/admin/dlq/messages": Row(None, 200, 200, 200),
    "POST /v1/admin/dlq/requeue": Row(b"", 200, 200, 200),
    "POST /v1/admin/dlq/purge": Row(b"", 200, 200, 200),
    "POST /receiver/enable": Row(b"", 403, 403, 200),
    "POST /receiver/disable": Row(b"", 403, 403, 200),
    # Without a key; a key changes nothing.
    "POST /receiver/{tenant_id}/webhook": Row(b"{}", 401, 401, 401),
    "GET /receiver/status": Row(None, 200, 200, 200),
    "GET /receiver/health": Row(None, 200, 200, 200),
}
# Ways to say that one is somebody else, which mean nothing.
PRETENCES = {"X-Tenant-Id": "acme", "X-Forwarded-User": "acme", "tenantId": "acme", "X-Amzn-Authorizer-Tenant": "acme"}
# Rounds of the matrix, each with a process of its own.
ROUNDS = 10 if LONG else 1
# Row 26.
REVOCATIONS = 200 if LONG else 10
DESTRUCTIVE = [
    ("POST", "/v1/admin/dlq/purge", b""), ("POST", "/v1/admin/dlq/requeue", b""),
    ("PATCH", "/v1/tenants/{id}", b'{"delivery":{"paused":false}}'), ("POST", "/v1/tenants/{id}/lift", b""),
]  # fmt: skip
READING = [("GET", "/v1/events", None), ("POST", "/v1/events", b"{}"), ("GET", "/v1/tenants/{id}", None)]


class Scene:
    """A process with acme, whose everything has a canary in it, and other, who has as much."""

    # Where the documents are, and what is answered where a key is asked for and none that is good is shown.
    documents = ("/v1/openapi.json", "/receiver/openapi.json")
    shut = (401,)
    # What is answered where there is no route.
    nowhere = (404,)

    def __init__(self, stack, daemon):
        self.canary = "canary" + secrets.token_hex(8)
        self.sink = stack.enter_context(Sink())
        self.daemon = daemon
        self.acme = self._tenant("acme", self.canary)
        self.other = self._tenant("other", "nothing")

    def _tenant(self, name, mark):
        path = f"/{name}/{mark}"
        self.sink.answers[path] = [410] * 100_000
        fields = {"webhook_secret": f"whsec-{mark}-{secrets.token_hex(4)}", "delivery": {"headers": {"X-Mark": mark}}}
        tenant = self.daemon.tenant(name, self.sink.url(path), **fields)
        self.refill(tenant, mark)
        return {**tenant, "mark": mark}

    def refill(self, tenant, mark):
        """One dead event, and a key to spare that is revoked, and one that is not."""
        client = tenant["client"]
        body = json.dumps({"mark": mark}).encode()
        tenant["event"] = client.json("POST", "/v1/events", body, expect=201)["event_id"]
        dead = lambda: client.json("GET", f"/v1/events/{tenant['event']}")["event"]["status"] == "DLQ"  # noqa: E731
        eventually("it is dead", dead)
        keys = f"/v1/tenants/{tenant['tenant_id']}/keys"
        for name in ("revoked", "spare"):
            tenant[name] = client.json("POST", keys, expect=201)
        client.json("DELETE", f"{keys}/{tenant['revoked']['key_id']}")

    def drop_keys(self, tenant):
        self.daemon.operator().request("DELETE", f"/v1/tenants/{tenant['tenant_id']}/keys/{tenant['spare']['key_id']}")

    def ask(self, route, key, headers=()):
        method, path = route.split(" ")
        row = ROWS[route]
        path = path.replace("{tenant_id}", "acme").replace("{event_id}", self.acme["event"])
        path = path.replace("{key_id}", self.acme["spare"]["key_id"])
        body = row.body
        if body == b"NEW":
            body = json.dumps({"tenant_id": "new-" + secrets.token_hex(4), "target_url": self.sink.url("/new")}).encode()
        return Api(self.daemon.api, key).request(method, path, body, headers)

    def token(self):
        """A page token of acme's."""
        self.acme["client"].json("POST", "/v1/events/batch", b"[{},{}]", expect=207)
        return self.acme["client"].json("GET", "/v1/events?limit=1")["next_token"]


def documents(scene):
    """{route: whether it asks for a key} of the running process."""
    found = {}
    for path in scene.documents:
        for pattern, methods in scene.daemon.client().json("GET", path)["paths"].items():
            for method, operation in methods.items():
                found[f"{method.upper()} {pattern}"] = bool(operation.get("security"))
    return found


def rows_of(scene):
    """The rows of the documents that it has."""
    return {route for route in ROWS if len(scene.documents) > 1 or " /v1/" in route}


def unmatched(routes, rows):
    return set(routes) ^ set(rows)


def leaks(scene, answer):
    """What of acme's own is in an answer."""
    text = answer.body.decode(errors="replace") + str(answer.headers)
    marks = [scene.canary, scene.acme["event"], scene.acme["api_key"], scene.acme["spare"]["key_id"]]
    return [mark for mark in marks if mark in text]


def matrix(scene, proof):
    routes = documents(scene)
    proof.equal(unmatched(routes, rows_of(scene)), set(), "routes without a row, and rows without a route")
    for route, asks in routes.items():
        row = ROWS.get(route)
        if row is None:
            continue
        scene.refill(scene.acme, scene.canary)
        nobody = scene.shut if asks else (row.own,)
        key = scene.acme["api_key"]
        for name, key, expected in [
            ("other", scene.other["api_key"], (row.other,)),
            ("none", None, nobody),
            ("revoked", scene.acme["revoked"]["api_key"], nobody),
            ("unknown", new_api_key(), nobody),
            ("cut short", key[:-1], nobody),
            ("key id", scene.acme["spare"]["key_id"], nobody),
        ]:
            answer = scene.ask(route, key)
            proof.check(answer.status in expected, f"{route} as {name}: {answer.status} instead of {expected}")
            proof.equal(leaks(scene, answer), [], f"{route} as {name} shows")
        for header, value in PRETENCES.items():
            answer = scene.ask(route, scene.other["api_key"], {header: value})
            proof.check(answer.status == row.other and not leaks(scene, answer), f"{route} as other with {header}")
        for name, key, expected in ("own", scene.acme["api_key"], row.own), ("admin", scene.daemon.admin_key, row.admin):
            scene.refill(scene.acme, scene.canary)
            proof.equal(scene.ask(route, key).status, expected, f"{route} as {name}")
            scene.drop_keys(scene.acme)
    beside(scene, proof)


def beside(scene, proof):
    """What a matrix of routes does not ask."""
    other = scene.other["client"]
    for query in (f"next_token={scene.token()}", "tenant_id=acme", "tenantId=acme"):
        answer = other.request("GET", f"/v1/events?{query}")
        proof.check(answer.status == 400 and not leaks(scene, answer), f"events?{query}: {answer.status}")
    mixed = json.dumps({"tenantId": "acme", "tenant_id": "acme"}).encode()
    id = other.json("POST", "/v1/events", mixed, expect=201)["event_id"]
    proof.check(id not in list_all(scene.acme["client"]), "a body that names acme makes an event of acme's")
    # What the other tenant may see in bulk, and what the admin's listener shows to whoever reaches it.
    for path in ("/v1/events?limit=100", "/v1/admin/dlq/messages?limit=10", "/v1/tenants/other", "/v1/tenants/other/keys"):
        proof.equal(leaks(scene, other.request("GET", path)), [], f"{path} of other shows")
    for path in ("/livez", "/readyz", "/metrics", "/endpoints"):
        proof.equal(leaks(scene, Api(scene.daemon.admin).request("GET", path)), [], f"{path} shows")
        found = Api(scene.daemon.api).request("GET", path).status
        proof.check(found in scene.nowhere, f"{path} on the public listener: {found}")


def control_of_matrix(scene):
    """Somebody reads with acme's key and calls himself another: the same questions find it."""
    scene.refill(scene.acme, scene.canary)
    wrong = Proof("control")
    for route in ("GET /v1/events/{event_id}", "GET /v1/tenants/{tenant_id}"):
        answer = scene.ask(route, scene.acme["api_key"])
        wrong.equal(answer.status, ROWS[route].other, route)
        wrong.equal(leaks(scene, answer), [], route)
    must(wrong.held == 0, f"a cross-tenant read is not noticed: {wrong.faults}")
    routes = documents(scene)
    must(unmatched(routes, rows_of(scene) - {"POST /v1/events"}) == {"POST /v1/events"}, "a route without a row is not noticed")


class Caller(threading.Thread):
    """Asks again and again with one key; notes when each question began, and its answer."""

    def __init__(self, api, key, tenant, questions):
        super().__init__(daemon=True)
        self.client, self.questions = Api(api, key), [(m, p.format(id=tenant), b) for m, p, b in questions]
        self.seen, self.over = [], threading.Event()

    def run(self):
        while not self.over.is_set():
            for method, path, body in self.questions:
                began = time.monotonic()
                self.seen.append((began, self.client.request(method, path, body).status))

    def let_in_after(self, moment):
        return [status for began, status in self.seen if began > moment and status < 300]

    def after(self, moment):
        return sum(began > moment for began, _ in self.seen)


def revoke(scene, proof, tenant):
    """A key is revoked while eight callers use it, and its sister is not: from the answer on, nobody gets in with it."""
    keys = f"/v1/tenants/{tenant['tenant_id']}/keys"
    made = [tenant["client"].json("POST", keys, expect=201) for _ in range(2)]
    callers, sisters = (
        [Caller(scene.daemon.api, it["api_key"], tenant["tenant_id"], questions) for questions in (DESTRUCTIVE, READING) * 2]
        for it in made
    )
    for caller in [*callers, *sisters]:
        caller.start()
    eventually("all are under way", lambda: all(caller.seen for caller in [*callers, *sisters]))
    scene.daemon.operator().json("DELETE", f"{keys}/{made[0]['key_id']}")
    moment = time.monotonic()
    eventually("all have asked again", lambda: all(it.after(moment) >= 5 for it in [*callers, *sisters]))
    for caller in [*callers, *sisters]:
        caller.over.set()
        caller.join()
    for caller in callers:
        proof.count(caller.after(moment), caller.after(moment) - len(caller.let_in_after(moment)), "asked after the end")
    scene.daemon.operator().json("DELETE", f"{keys}/{made[1]['key_id']}")
    return sum(len(sister.let_in_after(moment)) for sister in sisters)


def main(binary):
    apart, stops = Proof(25), Proof(26)
    for number in range(ROUNDS):
        with ExitStack() as stack:
            settings = {"retry.attempts-max": 1}
            scene = Scene(stack, stack.enter_context(Instance(binary, stack.enter_context(home()), **settings)))
            matrix(scene, apart)
            if number == 0:
                control_of_matrix(scene)
                good = sum(revoke(scene, stops, scene.acme) for _ in range(REVOCATIONS))
                must(good > 0, "a key that was not revoked is refused too")
            apart.check(scene.daemon.lives() and not scene.daemon.panics(), f"it lives: {scene.daemon.panics()[:3]}")
    note(f"{len(ROWS)} routes; {REVOCATIONS} keys revoked under load")
    yield apart.say("a read with the wrong key on purpose, and a route without a row: noticed")
    yield stops.say(f"a key that was not revoked got in {good} times in the same moments")


if __name__ == "__main__":
    run(main)
