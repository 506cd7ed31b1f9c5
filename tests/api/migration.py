"""What docs/MIGRATING.md says of older rows, keys and messages, tried on the whole of AWS mode.

    migration.py PATH-OF-POSTHASTE --lambda FOLDER

The functions in FOLDER (such as target/debug) behind the gateway of lambda/examples, a daemon, and a simulated AWS, where
the older forms are put by hand: with the attributes of the contract and no others.
Ends with status 77 (skipped) where botocore is not installed.
"""

import hashlib
import hmac
import json
import sys
import unittest

from conformance import SKIPPED, arguments, lambda_fleet
from posthaste import Api, Sink, eventually

try:
    import botocore.session
except ModuleNotFoundError as missing:
    print(f"skipped: {missing}; scripts/setup installs it into .venv")
    sys.exit(SKIPPED)

PREFIX = "posthaste"
TENANT, KEY, SECRET = "old-acme", "0f8fad5b-d9cb-469f-a165-70867728950e", "a-secret-of-old"
# Ids with the form of Posthaste's, as far back as 2023, and one without.
PENDING, DEAD = "evt_01HF7YAT00A1B2C3D4E5F6G7H8", "evt_01HF7YAT00A1B2C3D4E5F6G7H9"
FOREIGN = "evt_3f2b8c1d9e4a"
CREATED = "1700000000"


def text(value):
    return {"S": value}


def row(event, status, attempts, **more):
    return {
        "tenantId": text(TENANT),
        "eventId": text(event),
        "status": text(status),
        "attempts": {"N": str(attempts)},
        "createdAt": text(CREATED),
        "payload": {"M": {"order": {"N": "17"}, "paid": {"BOOL": True}}},
        **more,
    }


class Migration(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.sink = cls.enterClassContext(Sink())
        cls.place = cls.enterClassContext(lambda_fleet(ASKED))
        session = botocore.session.Session()
        cls.dynamodb, cls.sqs = (
            session.create_client(
                service,
                endpoint_url=cls.place.aws,
                region_name="us-east-1",
                aws_access_key_id="123456789012",
                aws_secret_access_key="test",
            )
            for service in ("dynamodb", "sqs")
        )
        cls.target = cls.sink.url("/hook")
        cls.identity(KEY, "active")
        config = {"targetUrl": text(cls.target), "webhookSecret": text(SECRET), "lastUpdated": text(CREATED)}
        cls.put("TenantWebhookConfig", tenantId=text(TENANT), **config)
        cls.client = Api(cls.place.hooks, KEY)

    @classmethod
    def identity(cls, key, status):
        cls.put("TenantIdentity", apiKey=text(key), tenantId=text(TENANT), status=text(status), createdAt=text(CREATED))

    @classmethod
    def put(cls, table, **item):
        cls.dynamodb.put_item(TableName=f"{PREFIX}-{table}", Item=item)

    def send(self, event):
        url = self.sqs.get_queue_url(QueueName=f"{PREFIX}-events")["QueueUrl"]
        body = json.dumps({"tenantId": TENANT, "eventId": event})
        self.sqs.send_message(QueueUrl=url, MessageBody=body)

    def status(self, event):
        return self.client.json("GET", f"/v1/events/{event}")["event"]["status"]

    def assert_delivered(self, event, body):
        [delivery] = self.sink.wait_for(event)
        self.assertEqual(json.loads(delivery.body), body)
        fields = dict(field.split("=", 1) for field in delivery.headers["Stripe-Signature"].split(","))
        right = hmac.new(SECRET.encode(), fields["t"].encode() + b"." + delivery.body, hashlib.sha256)
        self.assertEqual(fields["v1"], right.hexdigest())
        eventually("the row says so", lambda: self.status(event) == "DELIVERED")

    def test_a_bare_key_posts_and_the_old_secret_signs(self):
        event = self.client.json("POST", "/v1/events", {"new": True}, expect=201)["event_id"]
        self.assert_delivered(event, {"new": True})

    def test_a_row_and_a_message_of_old_are_delivered(self):
        self.put("Events", **row(PENDING, "PENDING", 0, targetUrl=text(self.target)))
        self.send(PENDING)
        self.assert_delivered(PENDING, {"order": 17, "paid": True})

    def test_a_dead_row_of_old_is_not_in_the_list_but_can_be_revived(self):
        self.put("Events", **row(DEAD, "DLQ", 5, errorMessage=text("500"), lastAttemptAt=text(CREATED)))
        self.assertEqual(self.status(DEAD), "DLQ")
        messages = self.client.json("GET", "/v1/admin/dlq/messages")["messages"]
        self.assertNotIn(DEAD, [message["messageId"] for message in messages])
        self.client.json("POST", f"/v1/events/{DEAD}/retry")
        self.assert_delivered(DEAD, {"order": 17, "paid": True})

    def test_an_id_of_another_form_is_no_event_and_its_message_is_kept(self):
        self.put("Events", **row(FOREIGN, "PENDING", 0))
        self.send(FOREIGN)
        url = self.sqs.get_queue_url(QueueName=f"{PREFIX}-events-dlq")["QueueUrl"]

        def quarantined():
            got = self.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=0)
            return [message["Body"] for message in got.get("Messages", []) if FOREIGN in message["Body"]]

        eventually("it is in the dead-letter queue", quarantined)
        self.assertEqual(self.sink.of(FOREIGN), [])
        self.assertEqual(self.client.request("GET", f"/v1/events/{FOREIGN}").status, 404)
        listed = self.client.json("GET", "/v1/events")["events"]
        self.assertNotIn(FOREIGN, [event["event_id"] for event in listed])

    def test_a_key_that_is_not_active_or_follows_from_a_name_is_refused(self):
        for key, status in [("old-and-gone", "suspended"), (f"tenant_{TENANT}_key", "active")]:
            self.identity(key, status)
            self.assertEqual(Api(self.place.hooks, key).request("GET", "/v1/events").status, 403)


if __name__ == "__main__":
    ASKED, rest = arguments().parse_known_args()
    unittest.main(argv=[sys.argv[0], *rest])
