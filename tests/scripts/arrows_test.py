"""Each kind of wrong arrow is caught by scripts/arrows, in a doctored copy of the real workspace's metadata."""

import copy
import unittest

from load import script

arrows = script("arrows")
METADATA = arrows.cargo_metadata()
TABLE = arrows.load_table()


class Workspace:
    """A copy of the real workspace that a test may spoil."""

    def __init__(self):
        self.metadata = copy.deepcopy(METADATA)
        self.table = copy.deepcopy(TABLE)

    def package(self, name):
        return next(package for package in self.metadata["packages"] if package["name"] == name)

    def node(self, name):
        id = self.package(name)["id"]
        return next(node for node in self.metadata["resolve"]["nodes"] if node["id"] == id)

    def depend(self, name, target, kind=None, path=None):
        self.package(name)["dependencies"].append({"name": target, "kind": kind, "path": path})
        if any(package["name"] == target for package in self.metadata["packages"]):
            edge = {"pkg": self.package(target)["id"], "dep_kinds": [{"kind": kind}]}
            self.node(name)["deps"].append(edge)

    def wrong(self):
        return list(arrows.wrong_arrows(self.metadata, self.table))


class Arrows(unittest.TestCase):
    def setUp(self):
        self.workspace = Workspace()

    def assert_caught(self, *parts):
        wrong = self.workspace.wrong()
        self.assertTrue(any(all(part in line for part in parts) for line in wrong), wrong)

    def test_the_workspace_as_it_is_has_no_wrong_arrow(self):
        self.assertEqual(self.workspace.wrong(), [])

    def test_an_arrow_to_a_blind_neighbour_is_caught(self):
        self.workspace.depend("posthaste-engine", "posthaste-ports")
        self.assert_caught("posthaste-engine -> posthaste-ports", "not in the table")

    def test_an_arrow_upwards_is_caught(self):
        self.workspace.depend("posthaste-domain", "posthaste-engine")
        self.assert_caught("posthaste-domain -> posthaste-engine")

    def test_an_arrow_of_tests_and_of_build_scripts_is_caught(self):
        for kind in ("dev", "build"):
            self.workspace.depend("posthaste-delivery", "posthaste-embedded", kind=kind)
        self.assert_caught("posthaste-delivery -> posthaste-embedded", "in tests")
        self.assert_caught("posthaste-delivery -> posthaste-embedded", "build")

    def test_an_allowance_for_tests_is_for_tests_only(self):
        self.workspace.table["packages"]["posthaste-delivery"]["dev"] = ["posthaste-ports"]
        self.workspace.depend("posthaste-delivery", "posthaste-ports", kind="dev")
        self.assertEqual(self.workspace.wrong(), [])
        self.workspace.depend("posthaste-delivery", "posthaste-ports")
        self.assert_caught("posthaste-delivery -> posthaste-ports", "in the library")

    def test_the_walls_hold(self):
        for name, target in (
            ("posthaste-api", "fjall"),
            ("posthaste", "bincode"),
            ("posthaste-api", "aws-sdk-sqs"),
            ("posthaste-api", "hyper"),
            ("posthaste-engine", "tokio"),
            ("posthaste", "reqwest"),
        ):
            self.workspace.depend(name, target)
            self.assert_caught(f"{name} -> {target}", "only")

    def test_a_package_without_a_row_is_caught(self):
        self.workspace.package("posthaste-api")["name"] = "posthaste-extra"
        self.assert_caught("posthaste-extra", "not in the table")

    def test_an_arrow_to_a_path_without_a_row_is_caught(self):
        self.workspace.depend("posthaste-api", "helpers", path="/elsewhere/helpers")
        self.assert_caught("posthaste-api -> helpers")

    def test_what_must_stay_out_of_reach_is_caught_at_any_distance(self):
        # ulid is a third party's; were it to need tokio, the words would.
        self.workspace.depend("ulid", "tokio")
        self.assert_caught("posthaste-domain reaches tokio <- ulid <- posthaste-domain")
        self.assert_caught("posthaste-engine reaches tokio")

    def test_what_only_tests_reach_is_no_harm(self):
        self.workspace.depend("ulid", "tokio", kind="dev")
        self.assertEqual(self.workspace.wrong(), [])

    def test_a_table_that_contradicts_itself_is_caught(self):
        self.workspace.table["packages"]["posthaste-domain"]["may"] = ["posthaste-api", "nobody"]
        self.workspace.table["walls"]["fjall"]["may"].append("somebody")
        self.assert_caught("posthaste-domain may use posthaste-api", "lower level")
        self.assert_caught("nobody", "no row")
        self.assert_caught("somebody", "no row")


if __name__ == "__main__":
    unittest.main()
