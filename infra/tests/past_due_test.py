#!/usr/bin/env python3
"""The function that counts past-due retries, with a table of ours. tests/stack runs it as Lambda does."""

import importlib.util
import json
import os
import unittest
from pathlib import Path
from unittest import mock

SOURCE = Path(__file__).parent.parent / "watch" / "index.py"
spec = importlib.util.spec_from_file_location("past_due", SOURCE)
watch = importlib.util.module_from_spec(spec)
spec.loader.exec_module(watch)

NOW_MS = 1_700_000_000_000


class Table:
    """The index `work`: (partition, due) of each row."""

    def __init__(self, *rows):
        self.rows = rows
        self.asked = []

    def query(self, **request):
        values = request["ExpressionAttributeValues"]
        partition, before = int(values[":wk"]["N"]), int(values[":due"]["N"])
        self.asked.append(partition)
        found = sorted(due for own, due in self.rows if own == partition and due < before)
        return {"Items": [{"due": {"N": str(due)}} for due in found]}


def past_due(*rows):
    return watch.past_due(Table(*rows), "acme-Events", NOW_MS)


class PastDue(unittest.TestCase):
    def test_nothing_is_nothing(self):
        self.assertEqual(past_due(), (0, 0))

    def test_every_partition_is_asked_once(self):
        table = Table()
        watch.past_due(table, "acme-Events", NOW_MS)
        self.assertEqual(table.asked, list(range(64)))

    def test_what_a_sweep_may_still_take_is_not_counted(self):
        grace = watch.GRACE_S * 1000
        self.assertEqual(past_due((0, NOW_MS - grace), (63, NOW_MS + 5)), (0, 0))
        self.assertEqual(past_due((63, NOW_MS - grace - 1)), (1, watch.GRACE_S))

    def test_the_oldest_counts_wherever_it_is(self):
        rows = ((5, NOW_MS - 500_000), (5, NOW_MS - 900_000), (60, NOW_MS - 700_000))
        self.assertEqual(past_due(*rows), (3, 900))

    def test_a_line_is_a_metric(self):
        environment = {"EVENTS_TABLE": "acme-Events", "PREFIX": "acme"}
        session = mock.Mock()
        session.create_client.return_value = Table((1, 1))
        with (
            mock.patch.object(watch.botocore.session, "get_session", return_value=session),
            mock.patch.dict(os.environ, environment),
            mock.patch("builtins.print") as printed,
        ):
            watch.handler({}, None)
        line = json.loads(printed.call_args.args[0])
        (described,) = line["_aws"]["CloudWatchMetrics"]
        self.assertEqual(described["Namespace"], "Posthaste")
        self.assertEqual(described["Dimensions"], [["Prefix"]])
        self.assertEqual(line["Prefix"], "acme")
        for metric in described["Metrics"]:
            self.assertIsInstance(line[metric["Name"]], int)
        self.assertEqual(line["PastDueRetries"], 1)


if __name__ == "__main__":
    unittest.main()
