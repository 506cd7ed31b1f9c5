#!/usr/bin/env bash
# Posthaste beside the bare limit of this machine: a bare hyper client that signs and posts, and a bare hyper proxy that
# signs and forwards, all against the same kind of sink, with the same payloads and as many connections. Runs are
# interleaved (A B C C B A), so that a machine that grows slower or busier does so for all of them.
#
#   bench/limit.sh [--rounds N] [--events N] [--connections N] [--payload BYTES] [--dir DIR] [--out DIR]
#
#   --rounds   how often A B C C B A is run [1]
#   --dir      where Posthaste's data goes; a real disk, or its syncs cost nothing [the system's temporary directory]
#   --out      where raw output and summary are kept as well [nowhere]
#
# Exit status: 0 when every run was complete, 1 otherwise, 64 for a wrong call.
# shellcheck source=scripts/lib.sh
called_from=$PWD
. "$(dirname "${BASH_SOURCE[0]}")/../scripts/lib.sh"

rounds=1 events=200000 connections=64 payload=512 dir="" out=""
while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || { say "$1 needs a value" && exit 64; }
    case $1 in
    --rounds) rounds=$2 ;;
    --events) events=$2 ;;
    --connections) connections=$2 ;;
    --payload) payload=$2 ;;
    --dir) dir=$2 ;;
    --out) out=$2 ;;
    *) say "usage: bench/limit.sh [--rounds N] [--events N] [--connections N] [--payload BYTES] [--dir DIR] [--out DIR]" &&
        exit 64 ;;
    esac
    shift 2
done
for number in "$rounds" "$events" "$connections" "$payload"; do
    case $number in
    "" | 0 | *[!0-9]*) say "not a number above 0: $number" && exit 64 ;;
    esac
done

scratch=$(mktemp -d) && trap 'rm -rf "$scratch"' EXIT
raw=$scratch/raw.txt figures=$scratch/figures.txt
what=(--events "$events" --connections "$connections" --payload "$payload")

posthaste() {
    local place=()
    [ -z "$dir" ] || place=(--dir "$(cd "$called_from" && realpath "$dir")")
    target/release/examples/measure first-mark "${what[@]}" "${place[@]}" || return
}

limit() { target/release/limit "$1" "${what[@]}"; }

# one NAME COMMAND...: runs it; notes its events/s and CPU-us an event, which are in JSON or in `measure`'s own lines.
one() {
    local name=$1 answer rate cpu
    shift
    answer=$("$@") || { say "$name failed: $answer" && exit 1; }
    printf '== %s (load %s)\n%s\n' "$name" "$(cut -d' ' -f1-3 /proc/loadavg)" "$answer" >>"$raw"
    if [ "$name" = posthaste ]; then
        rate=$(awk '$1 == "delivered" && $3 == "events/s" { print $2 }' <<<"$answer")
        cpu=$(awk '$1 == "daemon" && $2 == "CPU" { print $3 }' <<<"$answer")
    else
        rate=$(sed -n 's/.*"events_per_second":\([0-9.]*\).*/\1/p' <<<"$answer")
        cpu=$(sed -n 's/.*"cpu_us_per_event":\([0-9.]*\),"load.*/\1/p' <<<"$answer")
    fi
    [ -n "$rate" ] && [ -n "$cpu" ] || { say "$name printed no figures: $answer" && exit 1; }
    printf '%s %s %s\n' "$name" "$rate" "$cpu" | tee -a "$figures" |
        awk '{ printf "%-10s %8.0f events/s %8.1f us CPU an event\n", $1, $2, $3 }'
}

summary() {
    awk -v events="$events" -v connections="$connections" -v payload="$payload" '
        { runs[$1]++; rate[$1] += $2; cpu[$1] += $3
          if (!($1 in least) || $2 < least[$1]) least[$1] = $2
          if ($2 > most[$1]) most[$1] = $2 }
        END {
            printf "# Posthaste beside the bare limit\n\n"
            printf "%d events of %d B on %d connections; means of %d runs each (least to most)\n\n",
                events, payload, connections, runs["posthaste"]
            print "| | events/s | | CPU-us an event | Posthaste: of its rate | of its CPU |"
            print "|---|---|---|---|---|---|"
            split("posthaste client proxy", names, " ")
            for (i = 1; i <= 3; i++) {
                n = names[i]; r = rate[n] / runs[n]; c = cpu[n] / runs[n]
                if (i == 1) { ours = r; cost = c }
                printf "| %s | %.0f | %.0f to %.0f | %.1f | %.1f %% | %.1f times |\n",
                    n, r, least[n], most[n], c, 100 * ours / r, cost / c
            }
        }' "$figures"
}

say "building"
cargo build --quiet --locked --release --bin posthaste --example measure || exit 1
cargo build --quiet --locked --release -p posthaste-bench --bin limit || exit 1
for ((round = 0; round < rounds; round++)); do
    one posthaste posthaste
    one client limit client
    one proxy limit proxy
    one proxy limit proxy
    one client limit client
    one posthaste posthaste
done
say ""
summary
if [ -n "$out" ]; then
    out=$(cd "$called_from" && mkdir -p "$out" && realpath "$out") || exit 1
    cp "$raw" "$out/limit-raw.txt" && summary >"$out/limit.md" || exit 1
fi
