"""Signatures of real deliveries, changed in every way, shown to verifiers that are not ours and to the built-in receiver
(promise 22 of docs/SEMANTICS.md); secrets that are replaced under load (row 23).

    signatures.py [PATH-OF-POSTHASTE]

Stripe's and Standard Webhooks' own libraries are what receivers use; where they are not installed the same rules in thirty
lines stand for them, and a line says so.
"""

import base64
import hashlib
import hmac
import http.client
import json
import random
import secrets
import threading
import time
from contextlib import ExitStack

from common import LONG, Instance, Proof, eventually, home, must, note, place, raw, run, skip, statuses
from posthaste import Sink

try:
    import standardwebhooks
    import stripe
except ModuleNotFoundError:
    stripe = standardwebhooks = None

# Each is shown to both schemes' verifiers; 10^5 in all; long: 10^6.
MUTATIONS = 500_000 if LONG else 50_000
# By HTTP, to the built-in receiver.
POSTED = 50_000 if LONG else 1_500
ROTATIONS = 100 if LONG else 8
SEED = 0x5EED
TOLERANCE_S = 300
# More than any time between our reading of the clock and the receiver's. The edge itself is tried with a clock that stands
# still, in the tests of the domain and of the API.
EDGE_S = 20


class Stripe:
    """`Stripe-Signature`."""

    header = "stripe-signature"

    def verify(self, headers, body, secret):
        if stripe:
            stripe.WebhookSignature.verify_header(body.decode(), headers[self.header], secret, TOLERANCE_S)
            return
        fields = [part.partition("=") for part in headers[self.header].split(",")]
        told = int(next(value for name, _, value in fields if name == "t"))
        right = hmac.new(secret.encode(), b"%d." % told + body, hashlib.sha256).hexdigest()
        found = [value for name, _, value in fields if name == "v1"]
        if abs(time.time() - told) > TOLERANCE_S or not any(hmac.compare_digest(right, it) for it in found):
            raise ValueError("not verified")


class Standard:
    """`webhook-signature`, over the id and the time in their own headers."""

    header = "webhook-signature"

    def verify(self, headers, body, secret):
        key = secret if secret.startswith("whsec_") else secret.encode()
        if standardwebhooks:
            standardwebhooks.Webhook(key).verify(body, headers, json_parse=False)
            return
        told = int(headers["webhook-timestamp"])
        raw_key = base64.b64decode(secret.removeprefix("whsec_")) if secret.startswith("whsec_") else key
        signed = f"{headers['webhook-id']}.{told}.".encode() + body
        right = base64.b64encode(hmac.new(raw_key, signed, hashlib.sha256).digest()).decode()
        found = [it.partition(",")[2] for it in headers[self.header].split(" ") if it.startswith("v1,")]
        if abs(time.time() - told) > TOLERANCE_S or not any(hmac.compare_digest(right, it) for it in found):
            raise ValueError("not verified")


class Gullible(Stripe):
    """The control: compares as many digits as came."""

    def verify(self, headers, body, secret):
        fields = [part.partition("=") for part in headers[self.header].split(",")]
        told = next(value for name, _, value in fields if name == "t")
        right = hmac.new(secret.encode(), told.encode() + b"." + body, hashlib.sha256).hexdigest()
        if not any(right.startswith(value) for name, _, value in fields if name == "v1"):
            raise ValueError("not verified")


class Unseeing(Stripe):
    """The control: does not look."""

    def verify(self, headers, body, secret):
        headers[self.header].split(",")


def mutate(chance, data):
    """One change: a byte replaced, put in, taken out or swapped with its neighbour, or an end cut off."""
    place_ = chance.randrange(len(data))
    kind = chance.randrange(5)
    if kind == 0:
        return data[:place_] + bytes([data[place_] ^ (1 << chance.randrange(7))]) + data[place_ + 1 :]
    if kind == 1:
        return data[:place_] + bytes([chance.randrange(33, 127)]) + data[place_:]
    if kind == 2:
        return data[:place_] + data[place_ + 1 :]
    if kind == 3:
        return data[:place_]
    return data[:place_] + data[place_ + 1 : place_ + 2] + data[place_ : place_ + 1] + data[place_ + 2 :]


class Message:
    """A real delivery, its headers, its body and its secret."""

    def __init__(self, delivery, secret):
        self.headers = {name.lower(): value for name, value in delivery.headers.items()}
        self.body, self.secret = delivery.body, secret

    def mutated(self, chance, header):
        """The message with one change in what is signed or in what signs it; nothing where the change is none."""
        headers, body, secret = dict(self.headers), self.body, self.secret
        parts = ["body", "header", "secret"] + (["webhook-id", "webhook-timestamp"] if header == Standard.header else [])
        part = chance.choice(parts)
        if part == "body":
            body = mutate(chance, body)
        elif part == "secret":
            secret = mutate(chance, secret.encode()).decode(errors="replace")
        else:
            name = header if part == "header" else part
            headers[name] = mutate(chance, headers[name].encode()).decode(errors="replace")
        changed = (headers, body, secret) != (self.headers, self.body, self.secret)
        return (headers, body, secret) if changed and body.isascii() else None


def key_of(secret):
    """As Standard Webhooks' library reads it: what is no base64 does not count, nor do bits beyond the last byte."""
    if not secret.startswith("whsec_"):
        return secret.encode()
    try:
        return base64.b64decode(secret[6:] + "==")
    except ValueError:
        return None


def mutations(verifier, messages, number, seed):
    """How many changed messages were shown, and those that were taken."""
    chance, shown, taken = random.Random(seed), 0, []
    while shown < number:
        message = messages[shown % len(messages)]
        changed = message.mutated(chance, verifier.header)
        if changed is None:
            continue
        if isinstance(verifier, Standard) and key_of(changed[2]) == key_of(message.secret):
            # The same key in another spelling: not a change, unless something else is one.
            changed = (changed[0], changed[1], message.secret)
            if changed == (message.headers, message.body, message.secret):
                continue
        shown += 1
        try:
            verifier.verify(*changed)
        except Exception:
            # However it says no.
            continue
        whole = changed[1:] == (message.body, message.secret)
        if type(verifier) not in (Stripe, Standard) or not (whole and forgiven(verifier, changed[0], message.headers)):
            taken.append((changed[0], changed[1][:40], changed[2][:12]))
    return shown, taken


def forgiven(verifier, headers, original):
    """Whether only the spelling differs of what was signed and of the signature: the libraries take `+1` and `1.` for 1,
    further fields beside the right one, and base64 with anything between its letters. Nothing is forged by that."""
    whole = float if isinstance(verifier, Standard) else int

    def read(headers):
        text = headers[verifier.header]
        if isinstance(verifier, Standard):
            found = [base64.b64decode(it.split(",")[1]) for it in text.split(" ") if it.startswith("v1,")]
            return int(whole(headers["webhook-timestamp"])), headers["webhook-id"], found
        fields = [part.split("=", 2) for part in text.split(",")]
        return whole(next(it[1] for it in fields if it[0] == "t")), "", [it[1] for it in fields if it[0] == "v1"]

    (told, id, found), (right_told, right_id, right) = read(headers), read(original)
    return (told, id) == (right_told, right_id) and any(it in right for it in found)


def deliveries(scene, number):
    tenant = scene["tenant"]
    for n in range(number):
        body = json.dumps({"n": n, "pad": "x" * (n * 7)}).encode()
        event = tenant["client"].json("POST", "/v1/events", body, expect=201)["event_id"]
        yield Message(scene["sink"].wait_for(event)[0], tenant["webhook_secret"])


def receiver(scene, messages, proof):
    """Changed messages, to the built-in receiver by HTTP: 401; unchanged ones 200."""
    connection = http.client.HTTPConnection(*place(scene["daemon"].api), timeout=60)
    chance, refused, shown = random.Random(SEED), 0, 0
    path = f"/receiver/{scene['tenant']['tenant_id']}/webhook"

    def post(headers, body):
        sent = {name: value for name, value in headers.items() if name.lower().startswith(("stripe", "webhook"))}
        connection.request("POST", path, body, sent)
        answer = connection.getresponse()
        answer.read()
        return answer.status

    for message in messages:
        proof.equal(post(message.headers, message.body), 200, "an unchanged message at the receiver")
    while shown < POSTED:
        message = messages[shown % len(messages)]
        changed = message.mutated(chance, Stripe.header)
        if changed is None or changed[2] != message.secret or not printable(changed[0][Stripe.header]):
            continue
        shown += 1
        refused += post(changed[0], changed[1]) == 401
    proof.count(shown, refused, "changed messages at the receiver are refused")
    must(post(messages[0].headers, messages[0].body) == 200, "the receiver refuses everything")


def printable(text):
    return text.isascii() and text.isprintable() and text == text.strip()


def headers_of_the_list(scene, proof):
    """Signature headers at the receiver, as raw requests: each 401 but where it says otherwise."""
    secret, path = scene["tenant"]["webhook_secret"], f"/receiver/{scene['tenant']['tenant_id']}/webhook"
    body = b'{"a": 1}'
    now = int(time.time())

    def digest(seconds, content=body, key=secret):
        return hmac.new(key.encode(), b"%d." % seconds + content, hashlib.sha256).hexdigest()

    def post(fields, content=body, where=path):
        lines = [f"POST {where} HTTP/1.1", "Host: x", "Connection: close", f"Content-Length: {len(content)}", *fields]
        head = b"\r\n".join(line.encode() if isinstance(line, str) else line for line in lines)
        return raw(scene["daemon"].api, head + b"\r\n\r\n" + content)

    right = digest(now)
    wrong = "0" * 64
    coded = base64.b64encode(bytes.fromhex(right)).decode()
    refused = post([])
    proof.equal(statuses(refused), [401], "no header")
    for value, status in [
        ("", 401), ("t=1", 401), ("v1=", 401), ("t=,v1=", 401), ("v1,", 401), (f"t={now},v1={right[:31]}", 401),
        (f"t={now},v1={right[:33]}", 401), (f"t={now},v1=", 401), (f"t={now},v1={right[:63]}", 401),
        (f"t={now},v1={right}0", 401), (f"t={now},v1={right}00", 401), (f"t={now},v1={right[:2]}", 401),
        (f"t={now},v1={right.upper()}", 401), (f"t={now},v1=g{right[1:]}", 401), (f"t={now},v1={coded}", 401),
        (f"t={now},v0={right}", 401), (f"t={now},v1={wrong},v1={right}", 200), (f"t={now},v1={right},v1={wrong}", 200),
        (f"t={now}" + f",v1={wrong}" * 1000 + f",v1={right}", 401), (f"t={now}" + f",v1={wrong}" * 9 + f",v1={right}", 200),
        (f"t={now}" + f",v1={wrong}" * 10 + f",v1={right}", 401), (f"t={now},t={now},v1={right}", 401),
        (f"v1={right},t={now}", 200), (f"t={now}, v1={right}", 401), (f"t={now} ,v1={right}", 401),
        (f"t=+{now},v1={right}", 401), (f"t=0{now},v1={right}", 401), (f"t=1e9,v1={right}", 401),
        (f"t={now}.0,v1={right}", 401), (f"t=-1,v1={right}", 401), (f"t=99999999999999999999,v1={right}", 401),
        ("t=\u0661\u0667,v1=" + right, 401),
        (f"t={now},v1={digest(now, key='another secret')}", 401), (f"t={now},v1={digest(now, content=b'{}')}", 401),
    ]:  # fmt: skip
        answer = post([b"Stripe-Signature: " + value.encode()])
        proof.equal(statuses(answer), [status], f"Stripe-Signature: {value[:60]}")
        same = status != 401 or answer.partition(b"\r\n\r\n")[2] == refused.partition(b"\r\n\r\n")[2]
        proof.check(same, f"another answer to {value[:60]}: {answer[-80:]!r}")
    for offset, status in (
        (-TOLERANCE_S - 1, 401), (-TOLERANCE_S + EDGE_S, 200), (0, 200), (TOLERANCE_S - EDGE_S, 200), (TOLERANCE_S + EDGE_S, 401),
    ):  # fmt: skip
        told = int(time.time()) + offset
        answer = post([f"Stripe-Signature: t={told},v1={digest(told)}"])
        proof.equal(statuses(answer), [status], f"a signature of {offset} s from now")
    good = f"Stripe-Signature: t={now},v1={right}"
    proof.equal(statuses(post([good, good])), [401], "two headers")
    for name in ("nobody", "__GLOBAL_CONFIG__", "..%2fx", "%2e%2e", "x" * 10240):
        answer = post([good], where=f"/receiver/{name}/webhook")
        proof.check(statuses(answer) == [401] and answer.endswith(refused.partition(b"\r\n\r\n")[2]), f"tenant {name[:20]}")
    for content, status in [
        (b'{"a":1}', 401), (b"", 200), (b"\xef\xbb\xbf{}", 200), (b"\xff\xfe", 200), (b"x" * (1 << 20), 200),
        (b"x" * ((1 << 20) + 1), 413),
    ]:  # fmt: skip
        signed = right if content == b'{"a":1}' else digest(now, content)
        answer = post([f"Stripe-Signature: t={now},v1={signed}"], content)
        proof.equal(statuses(answer), [status], f"a body of {len(content)}")
    zipped = [f"Stripe-Signature: t={now},v1={right}", "Content-Encoding: gzip"]
    proof.equal(statuses(post(zipped)), [200], "an encoding that is only said")


class Rotation:
    """A tenant whose secret is replaced again and again under load; two receivers that are slow or quick to follow."""

    def __init__(self, daemon, sink, name):
        self.sink, self.path = sink, f"/{name}"
        first = "first-" + secrets.token_hex(12)
        self.tenant = daemon.tenant(name, sink.url(self.path), webhook_secret=first)
        self.live, self.posted, self.stop = [first], [], threading.Event()

    def rotate(self):
        fresh = secrets.token_hex(16)
        asked = {"webhook_secret": fresh}
        self.tenant["client"].json("PATCH", f"/v1/tenants/{self.tenant['tenant_id']}", asked)
        self.live.append(fresh)

    def load(self):
        while not self.stop.is_set():
            known = len(self.live)
            event = self.tenant["client"].json("POST", "/v1/events", b'{"rotating":true}', expect=201)["event_id"]
            # The newest secret before the event was posted, and the one before that when it had been.
            self.posted.append((event, self.live[known - 1], self.live[max(0, len(self.live) - 2)]))

    def run(self, rotations):
        thread = threading.Thread(target=self.load, daemon=True)
        thread.start()
        for _ in range(rotations):
            seen = len(self.posted)
            eventually("some events between", lambda: len(self.posted) > seen + 5)  # noqa: B023
            self.rotate()
        self.stop.set()
        thread.join()

    def failures(self):
        """Deliveries that a receiver would refuse which took a new secret at once, or is one behind."""
        quick, slow = 0, 0
        for event, newest, before in self.posted:
            delivery = self.sink.wait_for(event)[0]
            quick += not verifies(delivery, newest)
            slow += not verifies(delivery, before)
        return quick, slow


def verifies(delivery, secret):
    try:
        for verifier in (Stripe(), Standard()):
            verifier.verify(dict(delivery.headers), delivery.body, secret)
    except Exception:
        return False
    return True


def rotations(stack, binary, scene, proof):
    rotation = Rotation(scene["daemon"], scene["sink"], "rotating")
    rotation.run(ROTATIONS)
    quick, slow = rotation.failures()
    number = len(rotation.posted)
    proof.count(number, number - quick, "deliveries verify with the secret that was the newest when they were posted")
    proof.count(number, number - slow, "deliveries verify with the secret before the newest")
    # The built-in receiver, which is asked by the daemon itself.
    own = scene["daemon"].tenant("own", f"http://{scene['daemon'].api}/receiver/own/webhook")
    events = []
    for _ in range(ROTATIONS):
        events += [own["client"].json("POST", "/v1/events", b"{}", expect=201)["event_id"] for _ in range(3)]
        own["client"].json("PATCH", "/v1/tenants/own", {"webhook_secret": secrets.token_hex(16)})
    detail = lambda id: own["client"].json("GET", f"/v1/events/{id}")["event"]  # noqa: E731
    for event in events:
        eventually("delivered", lambda: detail(event)["status"] == "DELIVERED")  # noqa: B023
        proof.equal(detail(event)["attempts"], 1, "attempts at the built-in receiver")
    without = Instance(binary, stack.enter_context(home()), **{"secrets.overlap": "0s"})
    sudden = Rotation(stack.enter_context(without), scene["sink"], "sudden")
    sudden.run(2)
    must(sudden.failures()[1] > 0, "without an overlap the old secret still verifies")
    return number


def main(binary):
    if not stripe:
        skip("Stripe's and Standard Webhooks' libraries are not here: their rules in our own words instead")
    safe, rotated = Proof(22), Proof(23)
    with ExitStack() as stack:
        sink = stack.enter_context(Sink())
        daemon = stack.enter_context(Instance(binary, stack.enter_context(home())))
        scene = {"sink": sink, "daemon": daemon, "tenant": daemon.tenant("acme", sink.url("/acme"))}
        headers_of_the_list(scene, safe)
        messages = list(deliveries(scene, 10))
        receiver(scene, messages, safe)
        for verifier in (Stripe(), Standard()):
            began, shown = time.monotonic(), 0
            while shown < MUTATIONS:
                # Real deliveries are good for five minutes.
                more, taken = mutations(verifier, messages, min(MUTATIONS - shown, 100_000), SEED + shown)
                safe.count(more, more - len(taken), f"changed messages are refused by {verifier.__doc__}: {taken[:3]}")
                shown += more
                if shown < MUTATIONS:
                    messages = list(deliveries(scene, 10))
            note(f"{shown} changes shown to {verifier.header} in {time.monotonic() - began:.0f} s")
        caught = {type(it).__name__: len(mutations(it, messages, 3_000, SEED)[1]) for it in (Gullible(), Unseeing())}
        must(all(caught.values()), f"a verifier that does not verify is not noticed: {caught}")
        number = rotations(stack, binary, scene, rotated)
        safe.check(daemon.lives() and not daemon.panics(), f"it lives: {daemon.panics()[:3]}")
    yield safe.say(f"a verifier that compares what came, and one that does not look: took {caught}")
    yield rotated.say(f"an overlap of 0 s failed receivers that were slow ({number} deliveries with one failed none)")


if __name__ == "__main__":
    run(main)
