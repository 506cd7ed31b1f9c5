#!/usr/bin/env bash
# Counts the instructions of the hot path's functions under valgrind and holds them against the limits that stand in
# bench/benches/instructions.rs. Counts do not depend on how busy the machine is.
#
#   bench/instructions.sh            all of them
#   bench/instructions.sh stripe     those whose name contains this
#
# Exit status: 0 within the limits, 1 a limit was passed or the run failed, 77 it cannot run here (and says why).
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../scripts/lib.sh"

if [ "$(uname -sm)" != "Linux x86_64" ]; then
    say "skipped: the limits were set on Linux x86_64, and this is $(uname -sm)" && exit "$SKIPPED"
elif ! counter_is_usable; then
    say "skipped: no valgrind with gungraun-runner $GUNGRAUN_VERSION here: run scripts/setup" && exit "$SKIPPED"
fi

# As an argument the runner takes no filter beside others, and counts everything.
[ $# -eq 0 ] || export GUNGRAUN_FILTER="*$1*"
output=$(mktemp) && trap 'rm -f "$output"' EXIT
cargo bench --quiet --locked -p posthaste-bench --features instructions --bench instructions -- \
    --color never 2>&1 | tee "$output"
status=${PIPESTATUS[0]}
if [ "$status" -eq 0 ] && grep -q ' 0 benchmarks finished' "$output"; then
    say "nothing was counted: no function's name contains '${1:-}'" && exit 1
fi
[ "$status" -eq 0 ] && exit 0

if grep -q 'exceeds limit' "$output"; then
    say ""
    say "A LIMIT WAS PASSED: the functions named above execute over a twentieth more instructions than on the day their"
    say "limits were set. If the change is worth it, put the new counts into the table in bench/benches/instructions.rs"
    say "and say in the commit what is bought with them. If it is not meant: the profile of each function is below"
    say "target/gungraun (callgrind_annotate reads it)."
fi
exit 1
