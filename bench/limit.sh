#!/usr/bin/env bash
# Posthaste beside the bare limit of this machine: a bare hyper client that signs and posts, and a bare hyper proxy that
# signs and forwards, with payloads of one length and as many connections. Posthaste is measured by loadgen: `saturate`
# (as many events as 64 waiting clients get accepted) and `drain-backlog` (what has piled up goes as fast as it can).
# Runs are interleaved (A B C C B A), so that a machine that grows slower or busier does so for all of them.
#
#   bench/limit.sh [--rounds N] [--seconds N] [--events N] [--connections N] [--payload BYTES] [--backlog-rate N]
#                  [--dir DIR] [--out DIR]
#
#   --rounds        how often A B C C B A is run [1]
#   --seconds       how long each load of Posthaste is measured; at most 25, what hangs must not time out [15]
#   --events        what client and proxy send in a run [200000]
#   --backlog-rate  events/s that pile up; each second of the drain needs thousands [4000]
#   --dir           where Posthaste's data goes; a real disk, or its syncs cost nothing [target/loadgen]
#   --out           where raw output, summaries and the result are kept as well [nowhere]
#
# Exit status: 0 when every run was a measurement, 1 otherwise, 64 for a wrong call.
# shellcheck source=scripts/lib.sh
called_from=$PWD
. "$(dirname "${BASH_SOURCE[0]}")/../scripts/lib.sh"

rounds=1 seconds=15 events=200000 connections=64 payload=512 backlog_rate=4000 dir="" out=""
usage() {
    say "usage: bench/limit.sh [--rounds N] [--seconds N] [--events N] [--connections N] [--payload BYTES]" \
        "[--backlog-rate N] [--dir DIR] [--out DIR]"
    exit 64
}
while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || { say "$1 needs a value" && exit 64; }
    case $1 in
    --rounds) rounds=$2 ;;
    --seconds) seconds=$2 ;;
    --events) events=$2 ;;
    --connections) connections=$2 ;;
    --payload) payload=$2 ;;
    --backlog-rate) backlog_rate=$2 ;;
    --dir) dir=$2 ;;
    --out) out=$2 ;;
    *) usage ;;
    esac
    shift 2
done
for number in "$rounds" "$seconds" "$events" "$connections" "$payload" "$backlog_rate"; do
    case $number in
    "" | 0 | *[!0-9]*) say "not a number above 0: $number" && exit 64 ;;
    esac
done
[ "$seconds" -le 25 ] || { say "--seconds is at most 25: attempts time out after 30 s" && exit 64; }

if [ -n "$dir" ]; then
    dir=$(cd "$called_from" && realpath "$dir") || exit 64
else
    dir=target/loadgen
fi
mkdir -p "$dir" || exit 1
scratch=$(mktemp -d "$dir/limit-XXXXXX") && trap 'rm -rf "$scratch"' EXIT
raw=$scratch/raw.txt figures=$scratch/figures.txt
number=0

# note NAME EVENTS/S CPU-US: keeps the figures of a run, and shows them.
note() {
    printf '%s %s %s\n' "$1" "$2" "$3" | tee -a "$figures" |
        awk '{ printf "%-10s %8.0f events/s %8.1f us CPU an event\n", $1, $2, $3 }'
}

# head NAME ANSWER: adds what a run printed to the raw output.
head_of() { printf '== %s (load %s)\n%s\n' "$1" "$(cut -d' ' -f1-3 /proc/loadavg)" "$2" >>"$raw"; }

# bare WHAT: runs the client or the proxy.
bare() {
    local answer rate cpu
    answer=$(target/release/limit "$1" --events "$events" --connections "$connections" --payload "$payload") ||
        { say "$1 failed: $answer" && exit 1; }
    head_of "$1" "$answer"
    rate=$(sed -n 's/.*"events_per_second":\([0-9.]*\).*/\1/p' <<<"$answer")
    cpu=$(sed -n 's/.*"cpu_us_per_event":\([0-9.]*\),"load.*/\1/p' <<<"$answer")
    [ -n "$rate" ] && [ -n "$cpu" ] || { say "$1 printed no figures: $answer" && exit 1; }
    note "$1" "$rate" "$cpu"
}

# measured NAME SCENARIO FIGURE [--set KEY=VALUE]...: runs Posthaste under loadgen.
measured() {
    local name=$1 scenario=$2 figure=$3 folder answer rate cpu
    shift 3
    number=$((number + 1))
    folder=$scratch/$number-$name
    answer=$(target/release/loadgen run "$scenario" --quiet --out "$folder" \
        --set phases.warm-up=3s --set "phases.measure=${seconds}s" --set "payload.size=${payload}B" "$@") ||
        { say "$name is no measurement: $answer" && exit 1; }
    head_of "$name" "$answer"
    read -r rate cpu < <(python3 - "$folder/summary.json" "$figure" <<'PYTHON'
import json
import sys

summary = json.load(open(sys.argv[1], encoding="utf-8"))
part, name = sys.argv[2].split(".")
system = summary["system"]
cpu = system["user_ns_per_event"] + system["system_ns_per_event"]
if summary[part][name] and cpu:
    print(f"{summary[part][name]:.2f} {cpu / 1000:.2f}")
PYTHON
    )
    [ -n "$rate" ] && [ -n "$cpu" ] || { say "$name has no figures: $answer" && exit 1; }
    note "$name" "$rate" "$cpu"
}

posthaste() {
    measured saturate saturate load.delivered_rate --set "arrival.clients=$connections"
    measured drain drain-backlog drain.rate_to_99 --set "arrival.rate=$backlog_rate"
}

summary() {
    awk -v seconds="$seconds" -v events="$events" -v connections="$connections" -v payload="$payload" \
        -v backlog="$backlog_rate" '
        { runs[$1]++; rate[$1] += $2; cpu[$1] += $3
          if (!($1 in least) || $2 < least[$1]) least[$1] = $2
          if ($2 > most[$1]) most[$1] = $2 }
        function mean(of, n) { return of[n] / runs[n] }
        END {
            printf "# Posthaste beside the bare limit\n\n"
            printf "Payloads of %d B, %d connections; means of %d runs each (least to most). Client and proxy: ",
                payload, connections, runs["client"]
            printf "%d events. Posthaste: %d s each; the backlog is what piles up at %d events/s.\n\n",
                events, seconds, backlog
            print "| | events/s | | CPU-us an event | of the client: rate | CPU | of the proxy: rate | CPU |"
            print "|---|---|---|---|---|---|---|---|"
            split("saturate drain client proxy", names, " ")
            told["saturate"] = "Posthaste, accepted and delivered"
            told["drain"] = "Posthaste, a backlog to 99 %"
            told["client"] = "bare client"; told["proxy"] = "bare proxy"
            for (i = 1; i <= 4; i++) {
                n = names[i]
                printf "| %s | %.0f | %.0f to %.0f | %.1f |", told[n], mean(rate, n), least[n], most[n], mean(cpu, n)
                for (j = 3; j <= 4; j++) {
                    # What drains was accepted before, and its CPU time has that in it.
                    if (n == "drain" && j == 4) { printf " – | – |"; continue }
                    printf " %.1f %% |", 100 * mean(rate, n) / mean(rate, names[j])
                    if (n == "drain") printf " – |"
                    else printf " %.1f times |", mean(cpu, n) / mean(cpu, names[j])
                }
                print ""
            }
        }' "$figures"
}

say "building"
cargo build --quiet --locked --release -p posthaste -p posthaste-loadgen || exit 1
cargo build --quiet --locked --release -p posthaste-bench --bin limit || exit 1
for ((round = 0; round < rounds; round++)); do
    posthaste
    bare client
    bare proxy
    bare proxy
    bare client
    posthaste
done
say ""
summary
if [ -n "$out" ]; then
    out=$(cd "$called_from" && mkdir -p "$out" && realpath "$out") || exit 1
    cp "$raw" "$out/limit-raw.txt" && summary >"$out/limit.md" || exit 1
    for folder in "$scratch"/*/; do
        cp "$folder/summary.json" "$out/limit-$(basename "$folder").json" || exit 1
    done
fi
