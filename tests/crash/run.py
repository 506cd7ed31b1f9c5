#!/usr/bin/env python3
"""Real crashes of the real binary: killed, stopped, cut off from its disk, its power and its descriptors.

    tests/crash/run.py [--binary target/debug/posthaste] [--only NAME]… [--rounds N] [--seed N] [--long] [--minutes N]
                       [--loadgen FILE]

Each proof posts events, breaks something, starts again, and holds everything that got a 201 against what a receiver
saw. Each has a control, a wrong variant that it must catch. One line `proof: ROW tried N held N control …` for each.
`--long` (or PROVE_LONG=1) makes as many rounds as the long form asks for, `--minutes` ends each loop after so long.
What a machine does not let us do is skipped, with a line. Exit status: 0 when everything holds, 1 otherwise.
Standard library only; needs a C compiler.
"""

import argparse
import os
import random
import sys
import time
import traceback
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TOP / "tests"), str(Path(__file__).resolve().parent)]

import backlog  # noqa: E402
import bulk  # noqa: E402
import descriptors  # noqa: E402
import faults  # noqa: E402
import kills  # noqa: E402
import machine  # noqa: E402
import pauses  # noqa: E402
import power  # noqa: E402
import shim  # noqa: E402
import space  # noqa: E402
import stops  # noqa: E402
from support.namespace import bring_loopback_up, enter_namespace  # noqa: E402

PROOFS = {
    "kill": kills.prove,
    "power": power.prove,
    "fault": faults.prove,
    "full": space.prove,
    "descriptors": descriptors.prove,
    "pause": pauses.prove,
    "memory": backlog.prove_memory,
    "recovery": backlog.prove_recovery,
    "stop": stops.prove,
    "bulk": bulk.prove,
}


class Skipped(Exception):
    """This machine cannot do it; why."""


class World:
    """What every proof needs, and what it has to say."""

    def __init__(self, options, folder):
        self.options, self.long = options, options.long
        self.binary, self.shim = options.binary, shim.build(folder)
        self.events = self.lost = 0

    def begin(self, name):
        self.name, self.began = name, time.monotonic()
        # Each proof has chance of its own, so that one alone meets what it meets among others.
        self.rng = random.Random(f"{self.options.seed} {name}")

    def rounds(self, short, long):
        return self.options.rounds or (long if self.long else short)

    def size(self, short, long):
        return long if self.long else short

    def is_late(self):
        minutes = self.options.minutes
        return minutes is not None and time.monotonic() - self.began > 60 * minutes

    def say(self, text):
        print(f"{self.name}: {text}", flush=True)

    @staticmethod
    def check(held, otherwise):
        if not held:
            raise AssertionError(otherwise)

    @staticmethod
    def skip(why):
        raise Skipped(why)

    def count(self, verdict):
        self.events += verdict.accepted
        self.lost += len(verdict.lost)

    def proof(self, row, tried, held, control, note=""):
        note = f" ({note})" if note else ""
        print(f"proof: {row} tried {tried} held {held} control {control}{note}", flush=True)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--binary", type=Path, default=TOP / "target/debug/posthaste")
    parser.add_argument("--only", action="append", choices=PROOFS, metavar="NAME", help=", ".join(PROOFS))
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--long", action="store_true", default=os.environ.get("PROVE_LONG") == "1")
    parser.add_argument("--loadgen", type=Path)
    parser.add_argument("--minutes", type=float)
    return parser.parse_args()


def main():
    options = arguments()
    if not options.binary.is_file():
        print(f"crash: no binary at {options.binary}: cargo build")
        return 1
    # Ports of our own, and nothing that a test leaves behind in the way of others.
    if enter_namespace():
        bring_loopback_up()
    machine.own_mounts()
    failed = []
    with machine.Place() as place:
        world = World(options, place.path)
        print(f"crash: seed {options.seed}", flush=True)
        for name in options.only or PROOFS:
            world.begin(name)
            try:
                PROOFS[name](world)
            except Skipped as why:
                world.say(f"SKIPPED: {why}")
            except Exception as error:
                if not isinstance(error, AssertionError):
                    traceback.print_exc()
                world.say(f"FAILED: {error}")
                failed.append(name)
            else:
                world.say(f"held, {time.monotonic() - world.began:.1f} s")
            finally:
                if left := machine.Daemon.end_all():
                    world.say(f"{left} daemons were left, and are ended now")
    print(f"crash: {world.events} events accepted, {world.lost} lost", flush=True)
    if failed:
        print(f"crash: FAILED: {', '.join(failed)}; again with --seed {options.seed}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
