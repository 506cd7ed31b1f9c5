"""SIGKILL again and again under as much load as the machine takes (row 3): the load generator posts and accounts.

It knows the system from outside only, and says of every event that got a 201 whether it was delivered, dead-lettered,
is owed, or is missing (loadgen/README.md). Only in the long form: a minute of it is a million events.
"""

import json
import subprocess
from pathlib import Path

from machine import TOP, Place, refused_for_loss
from shim import Shim
from support.children import without_settings

SCENARIO = """
name = "bulk"
description = "as much as it takes, killed every {every} s"
seed = {seed}
interval = "10s"
phases = {{ warm-up = "1s", measure = "{measure}s", drain = "300s" }}
arrival = {{ process = "closed", clients = 64 }}
payload = {{ size = "128B" }}
generator = {{ raised-priority = false }}
# What counts here is the account; the machine may be as busy as it likes.
validity = {{ scheduling-delay-max = "1h", late-after = "1h", duplicates-max = 100000000 }}
"""
KILL_EVERY_S = 4
LOADGENS = ("target/release/loadgen", "target/debug/loadgen")
# What an account never has: events that did not come, came changed, or were nobody's.
WRONG = ("missing", "faulty", "foreign")


def loadgen(world):
    given = world.options.loadgen
    for path in [given] if given else [TOP / path for path in LOADGENS]:
        if path.is_file():
            return path
    world.skip("no load generator: cargo build -p posthaste-loadgen, or --loadgen FILE")


def run(world, place, name, seconds, every, environment=()):
    """A run's exit code, what it printed, its account (none where it has none), and how often it really killed."""
    scenario, out = place.path / f"{name}.toml", place.path / name
    # The first ones while little is on the disk, and none at the very end.
    moments = range(every, seconds - 1, every)
    chaos = [f'[[chaos]]\nat = "{at}s"\nsignal = "kill"\n' for at in moments]
    seed = world.rng.randrange(1 << 31)
    text = SCENARIO.format(every=every, seed=seed, measure=seconds)
    scenario.write_text(text + "\n".join(chaos))
    command = [loadgen(world), "run", scenario, "--binary", world.binary, "--out", out, "--plain"]
    done = subprocess.run(command, env={**without_settings(), **dict(environment)}, capture_output=True, text=True)
    summary = Path(out) / "summary.json"
    said = json.loads(summary.read_text()) if summary.is_file() else {"account": None, "chaos": []}
    return done.returncode, done.stdout + done.stderr, said["account"], len(said["chaos"])


def prove(world):
    if not world.long and not world.options.only:
        world.skip("only in the long form: --long, or --only bulk")
    minutes = world.options.minutes or (12 if world.long else 0.25)
    with Place() as place:
        code, printed, account, kills = run(world, place, "held", int(60 * minutes), KILL_EVERY_S)
        world.check(code == 0 and account, f"the load generator says {code}:\n{printed[-3000:]}")
        world.check(not any(account[name] for name in WRONG), f"{account}")
        world.check(kills > 0, "nothing was killed")
        world.events += account["accepted"]
        world.say(", ".join(f"{count} {name}" for name, count in account.items()))
        # Journals are dropped from the five-thousandth call on, in every life.
        shim = Shim(world.shim, place.path / "told", place.path, "lie", at=5000, match=".jnl")
        shim.arm()
        _, printed, wrong, _ = run(world, place, "control", 8, 4, shim.environment)
        found = [f"{count} {name}" for name in WRONG if (count := (wrong or {}).get(name))]
        # What it missed because nothing started again was told by the start.
        said = log_of(place.path / "control") + printed
        how = refused_for_loss(world, said) if "--accept-loss" in said or not found else ", ".join(found)
        note = f"{account['accepted']} events in {kills} kills, 0 lost, {account['duplicated']} repeated"
        world.proof(3, kills, kills, f"a disk that says yes and drops writes: caught, {how}", note)


def log_of(out):
    log = out / "system.log"
    return log.read_text(errors="replace") if log.is_file() else ""
