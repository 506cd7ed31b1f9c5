"""Other people's libraries verify what the real binary delivers: Stripe's and Standard Webhooks' own.

    signatures.py PATH-OF-POSTHASTE [unittest's own arguments]

For all payloads, for one and for two live secrets, at every attempt: the body arrives byte for byte, both libraries
accept it with each live secret, and both refuse a changed byte, a stale timestamp and a wrong secret.
Ends with status 77 (skipped) where the libraries are not installed.
"""

import base64
import datetime
import secrets
import sys
import unittest
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from posthaste import PAYLOADS, Daemon, Sink  # noqa: E402

try:
    import standardwebhooks
    import standardwebhooks.webhooks
    import stripe
except ModuleNotFoundError as missing:
    print(f"skipped: {missing}; scripts/setup installs it into .venv")
    sys.exit(77)

# Beyond what both libraries tolerate (300 s), in either direction of what the clock may have been.
STALE_S = 302

# White space, a number and a name twice that no parser would write again as they are.
ODD = '  {"a" :1.0e+2,\r\n "ü":"\\u00fc", "a":1}\n'.encode()


def payloads():
    return [*PAYLOADS.read_bytes().splitlines(), ODD]


def by_stripe(delivery, secret, body=None):
    body = delivery.body if body is None else body
    stripe.Webhook.construct_event(body, delivery.headers["Stripe-Signature"], secret, api_key="unused")


def by_standard_webhooks(delivery, secret, body=None):
    body = delivery.body if body is None else body
    # As the specification has it: base64 after `whsec_`, else the secret's own bytes.
    key = secret if secret.startswith("whsec_") else secret.encode()
    standardwebhooks.Webhook(key).verify(body, dict(delivery.headers))


VERIFIERS = {
    by_stripe: stripe.SignatureVerificationError,
    by_standard_webhooks: standardwebhooks.WebhookVerificationError,
}


def signatures(delivery):
    """How many signatures each of the two headers carries."""
    return (
        sum(part.startswith("v1=") for part in delivery.headers["Stripe-Signature"].split(",")),
        len(delivery.headers["webhook-signature"].split(" ")),
    )


class Later(datetime.datetime):
    """The clock of a verifier that reads the delivery too late."""

    @classmethod
    def now(cls, tz=None):
        return datetime.datetime.now(tz) + datetime.timedelta(seconds=STALE_S)


class Signatures(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.sink = cls.enterClassContext(Sink())
        cls.daemon = cls.enterClassContext(Daemon(BINARY))

    def tenant(self, name):
        return self.daemon.tenant(name, self.sink.url(f"/{name}"))

    def deliver(self, tenant, body=b"{}", attempts=1):
        """Posts one event; returns its deliveries."""
        event = tenant["client"].json("POST", "/v1/events", body, expect=201)
        return self.sink.wait_for(event["event_id"], attempts)

    def rotate(self, tenant, secret):
        tenant["client"].json("PATCH", f"/v1/tenants/{tenant['tenant_id']}", {"webhook_secret": secret})

    def assert_accepted(self, delivery, *live):
        for verify in VERIFIERS:
            for secret in live:
                verify(delivery, secret)

    def assert_refused(self, delivery, secret, body=None):
        for verify, refusal in VERIFIERS.items():
            with self.assertRaises(refusal, msg=verify.__name__):
                verify(delivery, secret, body)

    def test_one_live_secret_for_all_payloads(self):
        tenant = self.tenant("one-secret")
        for body in payloads():
            with self.subTest(body[:40]):
                [delivery] = self.deliver(tenant, body)
                self.assertEqual(delivery.body, body)
                self.assertEqual(signatures(delivery), (1, 1))
                self.assert_accepted(delivery, tenant["webhook_secret"])

    def test_two_live_secrets_for_all_payloads(self):
        tenant = self.tenant("two-secrets")
        chosen = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
        self.rotate(tenant, chosen)
        for body in payloads():
            with self.subTest(body[:40]):
                [delivery] = self.deliver(tenant, body)
                self.assertEqual(delivery.body, body)
                self.assertEqual(signatures(delivery), (2, 2))
                self.assert_accepted(delivery, chosen, tenant["webhook_secret"])

    def test_secrets_of_every_form(self):
        tenant = self.tenant("forms")
        forms = {
            "plain text": secrets.token_hex(16),
            "base64 with padding": "whsec_" + base64.b64encode(secrets.token_bytes(25)).decode(),
            "base64 without padding": "whsec_" + base64.b64encode(secrets.token_bytes(25)).decode().rstrip("="),
        }
        for form, secret in forms.items():
            with self.subTest(form):
                self.rotate(tenant, secret)
                self.assert_accepted(self.deliver(tenant)[0], secret)

    def test_every_attempt_is_signed_afresh(self):
        tenant = self.tenant("retried")
        self.sink.answers["/retried"] = [500, 503]
        deliveries = self.deliver(tenant, ODD, attempts=3)
        self.assertEqual([delivery.headers["webhook-attempt"] for delivery in deliveries], ["1", "2", "3"])
        for delivery in deliveries:
            self.assertEqual(delivery.body, ODD)
            self.assert_accepted(delivery, tenant["webhook_secret"])

    def test_a_changed_byte_is_refused(self):
        tenant = self.tenant("changed")
        for body in payloads():
            [delivery] = self.deliver(tenant, body)
            self.assert_accepted(delivery, tenant["webhook_secret"])
            for place in (0, len(body) // 2, len(body) - 1):
                changed = bytearray(body)
                # Stays ASCII where it was, so that the signature, not the decoding, is what refuses it.
                changed[place] ^= 1
                try:
                    changed.decode()
                except UnicodeDecodeError:
                    changed[place] = ord("?")
                self.assertNotEqual(bytes(changed), body)
                self.assert_refused(delivery, tenant["webhook_secret"], bytes(changed))
            self.assert_refused(delivery, tenant["webhook_secret"], body + b" ")

    def test_a_stale_timestamp_is_refused(self):
        tenant = self.tenant("stale")
        [delivery] = self.deliver(tenant)
        self.assert_accepted(delivery, tenant["webhook_secret"])
        late = datetime.datetime.now().timestamp() + STALE_S
        with mock.patch("time.time", lambda: late), mock.patch("standardwebhooks.webhooks.datetime", Later):
            self.assert_refused(delivery, tenant["webhook_secret"])

    def test_a_timestamp_that_was_made_fresh_is_refused(self):
        tenant = self.tenant("refreshed")
        [delivery] = self.deliver(tenant)
        told = int(delivery.headers["webhook-timestamp"])
        for header in ("Stripe-Signature", "webhook-timestamp"):
            text = delivery.headers[header]
            self.assertIn(str(told), text)
            delivery.headers.replace_header(header, text.replace(str(told), str(told + 1)))
        self.assert_refused(delivery, tenant["webhook_secret"])

    def test_a_wrong_secret_is_refused(self):
        tenant, other = self.tenant("right"), self.tenant("wrong")
        [delivery] = self.deliver(tenant)
        self.assert_accepted(delivery, tenant["webhook_secret"])
        self.assert_refused(delivery, other["webhook_secret"])


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: signatures.py PATH-OF-POSTHASTE")
    BINARY = sys.argv.pop(1)
    unittest.main()
