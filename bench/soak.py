#!/usr/bin/env python3
"""Two hours of mixed load with chaos, and whether anything grows.

    bench/soak.py                     the scenario soak-chaos as it is: two hours
    bench/soak.py --minutes 30
    bench/soak.py --judge FOLDER      judges a run once more

`loadgen` sends, kills and accounts for every event; beside it this program sends the process SIGHUP (reload) every
five minutes and stops it for two seconds every fifteen, and notes every ten seconds what it has: memory, descriptors,
threads, bytes on disk. At the end it fits a line to each of these and to the latencies, from fifteen minutes after the
last restart on: the median of all slopes between two points (Theil and Sen), which single peaks do not move. Exit status
0: the account adds up, every gate holds and nothing grows; 1: one of these is not so; 2: no measurement. An account with
events that are lost, changed or nobody's is a verdict of its own, whatever else became of the run. What loadgen calls
INVALID is no measurement, but its figures are shown: memory and disk may say something all the same.
"""

import argparse
import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
SAMPLE_S = 10
RELOAD_S = 300
PAUSE_S = 900
PAUSED_S = 2
# Retention is ten minutes, so that long after a start the disk still fills.
SETTLE_S = 900
# What an account never has: events that did not come, came changed, or were nobody's.
WRONG = ("missing", "faulty", "foreign")
# What loadgen calls a measurement: every gate holds, or one does not.
MEASURED = ("ok", "gate-failed")
# What may be added in the whole of the judged time, as a share of the median, and what is below notice.
GROWTH_MAX = 0.05
# name: (unit, growth that is none, for it is below what one sample differs from the next)
FIGURES = {
    "resident": ("MB", 1.0),
    "descriptors": ("", 4),
    "threads": ("", 0),
    "disk": ("MB", 16.0),
    "publish p50": ("ms", 0.2),
    "publish p99": ("ms", 2.0),
    "end to end p50": ("ms", 0.5),
}


def children(pid):
    path = pathlib.Path(f"/proc/{pid}/task/{pid}/children")
    try:
        return [int(child) for child in path.read_text().split()]
    except OSError:
        return []


def system_under_test(loadgen):
    """The process that loadgen started, while there is one."""
    for child in children(loadgen):
        try:
            if b"serve" in pathlib.Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0"):
                return child
        except OSError:
            pass
    return None


def tree_bytes(folder):
    """What a folder takes on disk; files that go meanwhile take nothing."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(path, name)).st_blocks * 512
            except OSError:
                pass
    return total


def sample(pid, out):
    status = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in status if ":" in line)
    return {
        "pid": pid,
        "resident": int(fields["VmRSS"].split()[0]) / 1024,
        "threads": int(fields["Threads"]),
        "descriptors": len(os.listdir(f"/proc/{pid}/fd")),
        "disk": sum(tree_bytes(folder) for folder in out.glob("data-*")) / 1e6,
    }


def disturb(loadgen, begun, stop, log):
    """Signals that end nothing."""
    rounds = 0
    while not stop.wait(RELOAD_S):
        rounds += 1
        pid = system_under_test(loadgen)
        if pid is None:
            continue
        try:
            os.kill(pid, signal.SIGHUP)
            log.append({"at_s": round(time.monotonic() - begun, 1), "signal": "HUP"})
            if rounds % (PAUSE_S // RELOAD_S) == 0:
                log.append({"at_s": round(time.monotonic() - begun, 1), "signal": "STOP"})
                os.kill(pid, signal.SIGSTOP)
                stop.wait(PAUSED_S)
                os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            pass


def run(arguments, out):
    command = [arguments.loadgen, "run", str(arguments.scenario), "--out", str(out), "--quiet"]
    command += ["--binary", arguments.binary, "--set", f"phases.measure={arguments.minutes}m"]
    out.mkdir(parents=True)
    begun = time.monotonic()
    samples, signals, stop = [], [], threading.Event()
    with open(out / "loadgen.txt", "w", encoding="utf-8") as text:
        loadgen = subprocess.Popen(command, stdout=text, stderr=subprocess.STDOUT)
    disturber = threading.Thread(target=disturb, args=(loadgen.pid, begun, stop, signals))
    disturber.start()
    try:
        while loadgen.poll() is None:
            pid = system_under_test(loadgen.pid)
            try:
                if pid is not None:
                    samples.append({"at_s": round(time.monotonic() - begun, 1), **sample(pid, out)})
            except (OSError, KeyError, ValueError):
                pass  # It has just ended, or has just been ended.
            # The samples so far, in case that this program is ended too.
            if len(samples) % 30 == 1:
                write(out, samples, signals)
            try:
                loadgen.wait(SAMPLE_S)
            except subprocess.TimeoutExpired:
                pass
    finally:
        stop.set()
        loadgen.poll() is None and loadgen.terminate()
        disturber.join()
        # It ends what it has started.
        loadgen.wait()
    write(out, samples, signals)


def write(out, samples, signals):
    (out / "soak.json").write_text(json.dumps({"samples": samples, "signals": signals}) + "\n", encoding="utf-8")


def slope(points):
    """The median of the slopes between all pairs, a unit an hour."""
    slopes = [
        (y2 - y1) / (x2 - x1) * 3600
        for index, (x1, y1) in enumerate(points)
        for x2, y2 in points[index + 1 :]
        if x2 > x1
    ]
    return statistics.median(slopes)


def wrong(account):
    """What the account has that it must not have."""
    found = [f"{account[name]} {name}" for name in WRONG if account[name]]
    parts = sum(account[name] for name in ("delivered", "dead_lettered", "owed", "missing"))
    return found + ([f"{account['accepted']} accepted, and {parts} accounted for"] if account["accepted"] != parts else [])


def series(out, summary):
    """Each figure over time, from when the last process of the run has settled; none of a run that was too short."""
    soak = json.loads((out / "soak.json").read_text(encoding="utf-8"))
    samples = soak["samples"]
    restarts = (at["at_s"] for at, after in zip(samples, samples[1:]) if at["pid"] != after["pid"])
    last = max(restarts, default=0.0)
    measured = [i for i in summary["intervals"] if i["phase"] == "measure"]
    end = measured[-1]["from_s"] if measured else 0.0
    begin = last + min(SETTLE_S, (end - last) / 3)
    figures = {
        name: [(at["at_s"], at[name]) for at in samples if begin <= at["at_s"] <= end]
        for name in ("resident", "descriptors", "threads", "disk")
    }
    for name, of, quantile in (
        ("publish p50", "publish", "p50_ns"),
        ("publish p99", "publish", "p99_ns"),
        ("end to end p50", "end_to_end", "p50_ns"),
    ):
        points = [(i["from_s"], i[of][quantile] / 1e6) for i in measured if i["from_s"] >= begin]
        figures[name] = points
    return figures if all(len(points) > 1 for points in figures.values()) else None, soak


def judge(out):
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    print((out / "loadgen.txt").read_text(encoding="utf-8"))
    if found := wrong(summary["account"]):
        print(f"verdict: the account does not add up: {', '.join(found)}")
        return 1
    figures, soak = series(out, summary)
    if figures is None:
        print("verdict: no measurement: too short")
        return 2
    grows = growing(figures)
    hours = (figures["resident"][-1][0] - figures["resident"][0][0]) / 3600
    counts = {name: sum(s["signal"] == name for s in soak["signals"]) for name in ("HUP", "STOP")}
    restarts = len({at["pid"] for at in soak["samples"]}) - 1
    print(f"judged over {hours:.2f} hours; {restarts} kills and stops, {counts['HUP']} reloads, {counts['STOP']} pauses")
    outcome = summary["outcome"]
    measured = outcome["verdict"] in MEASURED
    faults = [f"gate: {gate['metric']}" for gate in outcome["gates"] if not gate["passed"]]
    faults += [f"these grow: {', '.join(grows)}"] if grows else []
    said = "; ".join(faults) or "nothing grows"
    print(f"verdict: {'' if measured else 'no measurement; '}no event lost, changed or nobody's; {said}")
    return (1 if faults else 0) if measured else 2


def growing(figures):
    """Prints each figure, how it began and how it ended; the names of those that grow."""
    print(f"{'':16}{'first tenth':>12}{'median':>10}{'last tenth':>12}{'slope/h':>10}{'growth':>10}")
    grows = []
    for name, points in figures.items():
        unit, notice = FIGURES[name]
        values = [value for _, value in points]
        tenth = max(1, len(values) // 10)
        first, last = statistics.median(values[:tenth]), statistics.median(values[-tenth:])
        median, an_hour = statistics.median(values), slope(points)
        growth = an_hour * (points[-1][0] - points[0][0]) / 3600
        flat = growth <= max(notice, GROWTH_MAX * median)
        if not flat:
            grows.append(name)
        print(
            f"{name:16}{first:12.2f}{median:10.2f}{last:12.2f}{an_hour:10.3f}{growth:10.3f} {unit:3}"
            f" {'flat' if flat else 'GROWS'}"
        )
    return grows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=int, default=120)
    parser.add_argument("--binary", default=str(ROOT / "target/release/posthaste"))
    parser.add_argument("--loadgen", default=str(ROOT / "target/release/loadgen"))
    parser.add_argument("--scenario", type=pathlib.Path, default=ROOT / "loadgen/scenarios/soak-chaos.toml")
    parser.add_argument("--out", type=pathlib.Path, default=None, help="a new folder [default: below target/soak]")
    parser.add_argument("--judge", type=pathlib.Path, metavar="FOLDER")
    arguments = parser.parse_args()
    if arguments.judge:
        return judge(arguments.judge)
    out = arguments.out or ROOT / "target/soak" / time.strftime("%Y%m%d-%H%M%S")
    run(arguments, out)
    if not (out / "summary.json").is_file():
        print((out / "loadgen.txt").read_text(encoding="utf-8"), file=sys.stderr)
        return 2
    return judge(out)


if __name__ == "__main__":
    sys.exit(main())
