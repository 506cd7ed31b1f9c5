#!/usr/bin/env python3
"""What one tenant's trouble costs the others, measured with the real process.

    bench/isolation.py                       all comparisons, three runs of each side, in turns
    bench/isolation.py --rounds 1 hanging    one of them, once
    bench/isolation.py --binary ../other/posthaste

Each comparison runs the same load twice: once with a tenant in trouble, once with that tenant well. Both sides
run in turns on this machine; what is printed is the median of each side and their ratio. Needs nothing but
Python and the release build (`cargo build --release`).
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
PHASES = ["phases.warm-up=5s", "phases.measure=20s", "phases.drain=5s"]


def tenants(*groups):
    return "tenants=[" + ", ".join(groups) + "]"


QUIET = '{name = "quiet", count = 20, endpoints = 20, share = 1}'


def other(sink=None, share=1, count=1):
    sink = f", sink = {sink}" if sink else ""
    return f'{{name = "other", count = {count}, endpoints = {count}, share = {share}{sink}}}'


# name: (what it says, the scenario, settings of both sides, those of the quiet side, those of the other side)
COMPARISONS = {
    "hanging": (
        "one tenant never answers (time-out 30 s) and offers half of the load",
        "noisy-neighbour",
        [
            "arrival.rate=1000",
            "system.settings.delivery.attempt-timeout=30s",
            "system.settings.drain.timeout=30s",
        ],
        [tenants(QUIET, other())],
        [tenants(QUIET, other("{hang = 1.0}"))],
    ),
    "flooding": (
        "one tenant sends ten times as much as the other twenty together get",
        "noisy-neighbour",
        [],
        ["arrival.rate=2000", tenants(QUIET, other(share=1))],
        ["arrival.rate=11000", tenants(QUIET, other(share=10))],
    ),
    "dead": (
        "100 of 1,000 endpoints answer 503 to everything",
        "noisy-neighbour",
        ["arrival.rate=4000"],
        [tenants(QUIET.replace("20", "900").replace("share = 1", "share = 9"), other(count=100))],
        [
            tenants(
                QUIET.replace("20", "900").replace("share = 1", "share = 9"),
                other("{statuses = {503 = 1.0}}", count=100),
            )
        ],
    ),
    "outage": (
        "one tenant's receiver comes back after an outage to everything that waits",
        "noisy-neighbour",
        ["arrival.rate=3000", "phases.measure=60s", "phases.drain=30s"],
        [tenants(QUIET, other())],
        [
            tenants(
                QUIET,
                other('{outages = [{from = "0%", to = "50%", answer = "status", status = 503}]}'),
            )
        ],
    ),
}


def run(binary, scenario, settings):
    with tempfile.TemporaryDirectory() as folder:
        loadgen = ROOT / "target/release/loadgen"
        command = [loadgen, "run", scenario, "--quiet", "--binary", binary, "--out", folder]
        for setting in settings:
            command += ["--set", setting]
        # A gate that fails, or a remark, is not what this is about.
        done = subprocess.run(command, capture_output=True, text=True)
        summary = pathlib.Path(folder) / "summary.json"
        if not summary.exists():
            sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
        return json.loads(summary.read_text())


def figures(summary):
    groups = {group["name"]: group for group in summary["groups"]}
    quiet = groups["quiet"]
    times = quiet["end_to_end"]
    measured = next(phase for phase in summary["phases"] if phase["name"] == "measure")
    system = summary["system"]
    cpu_ns = system["user_ns"] + system["system_ns"]
    return {
        "p50 ms": times["p50_ns"] / 1e6,
        "p99 ms": times["p99_ns"] / 1e6,
        "delivered of accepted": quiet["delivered"] / max(1, quiet["accepted"]),
        "events/s": times["count"] / (measured["to_s"] - measured["from_s"]),
        "CPU us a delivered event of the quiet": cpu_ns / 1e3 / max(1, quiet["delivered"]),
        "memory MB": system["memory_peak_bytes"] / 1e6,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(COMPARISONS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--binary", default=str(ROOT / "target/release/posthaste"))
    options = parser.parse_args()
    unknown = set(options.names) - set(COMPARISONS)
    if unknown:
        parser.error(f"no such comparison: {', '.join(sorted(unknown))}; there are {', '.join(COMPARISONS)}")
    for name in options.names or COMPARISONS:
        says, scenario, both, well, troubled = COMPARISONS[name]
        print(f"{name}: {says}", flush=True)
        sides = ([], [])
        for _ in range(options.rounds):
            for side, own in zip(sides, (well, troubled)):
                side.append(figures(run(options.binary, scenario, PHASES + both + own)))
        for figure in sides[0][0]:
            before, after = (statistics.median(one[figure] for one in side) for side in sides)
            ratio = f"{after / before:.3f}" if before else "-"
            print(f"  {figure:<40} {before:10.3f} {after:10.3f}  ratio {ratio}", flush=True)


if __name__ == "__main__":
    main()
