"""What conformance.py changes in the requests that schemathesis makes up."""

import hashlib
import hmac
import os
import time

import requests
import schemathesis

TENANT_KEY = os.environ["TENANT_KEY"]
ADMIN_KEY = os.environ["ADMIN_KEY"]
WEBHOOK_SECRET = os.environ["WEBHOOK_SECRET"].encode()

OWN_KEY_ID = hashlib.sha256(TENANT_KEY.encode()).hexdigest()[:12]
NO_KEY_ID = "0" * 12

# The tenant as it was; null puts an option back.
OPTIONS = ["timeout_ms", "retry", "rate_per_s", "in_flight_max", "headers", "paused"]
AS_IT_WAS = {
    "target_url": os.environ["TARGET_URL"],
    "webhook_secret": os.environ["WEBHOOK_SECRET"],
    "delivery": dict.fromkeys(OPTIONS),
}
PATIENCE_S = 30


@schemathesis.hook
def before_call(context, case, kwargs):
    keep_own_key(case)
    sign(case)


@schemathesis.hook
def after_call(context, case, response):
    """A tenant that is paused, or whose target is nowhere, has no event that waits for a retry: whatever a change has
    come to, it is undone at once."""
    if case.method == "PATCH" and response.status_code == 200:
        key = {"Authorization": f"Bearer {ADMIN_KEY}"}
        undone = requests.patch(response.request.url, json=AS_IT_WAS, headers=key, timeout=PATIENCE_S)
        undone.raise_for_status()


def keep_own_key(case):
    """The run goes on after all other keys have been revoked, but not without its own."""
    if case.path_parameters and case.path_parameters.get("key_id") == OWN_KEY_ID:
        case.path_parameters["key_id"] = NO_KEY_ID


def sign(case):
    """A signature that is right, so that the receiver answers something else than 401. Cases that are wrong on purpose
    keep what they carry."""
    if not case.path.endswith("/webhook") or (case.meta and case.meta.generation.mode.is_negative):
        return
    sent = requests.Request(**case.as_transport_kwargs(base_url="http://localhost")).prepare().body or b""
    body = sent.encode() if isinstance(sent, str) else sent
    now = str(int(time.time()))
    digest = hmac.new(WEBHOOK_SECRET, now.encode() + b"." + body, hashlib.sha256).hexdigest()
    case.headers["Stripe-Signature"] = f"t={now},v1={digest}"
