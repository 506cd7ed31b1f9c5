# Sourced by the scripts beside it: where things are, and how a step is run and counted.
# A step prints its name and how long it took; what a quiet step prints is shown only when it fails.
# shellcheck shell=bash

set -u
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
export ROOT=$PWD
export TOOLS=$ROOT/target/tools
export PATH=$TOOLS/bin:$PATH
export PYTHONDONTWRITEBYTECODE=1

# Exact version, so that a new release cannot break a build. Others on the machine are used if they are not older.
CARGO_DENY_VERSION=0.20.2
CARGO_DENY_OLDEST=0.18.0 # the first ones cannot read our lock file's format
CARGO_DEB_VERSION=3.8.0
# Exactly the version of the library in Cargo.toml: the two talk in a format that changes with each.
GUNGRAUN_VERSION=0.20.0
# What aws-cdk-lib wants (infra/package.json).
NODE_OLDEST=20.0.0

# Exit status of a step that could not run on this machine and said why (as automake and Meson have it).
SKIPPED=77

passed=0 failed=0 skipped=0 failures=() times=()

have() { command -v "$1" >/dev/null 2>&1; }

say() { printf '%s\n' "$*"; }

# not_older VERSION OLDEST
not_older() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

deny_is_usable() {
    local version
    version=$(cargo-deny --version 2>/dev/null | awk '{ print $2 }')
    [ -n "$version" ] && not_older "$version" "$CARGO_DENY_OLDEST"
}

counter_is_usable() {
    have valgrind && [ "$(gungraun-runner --version 2>/dev/null)" = "gungraun-runner $GUNGRAUN_VERSION" ]
}

node_is_usable() { have npm && have node && not_older "$(node --version | tr -d v)" "$NODE_OLDEST"; }

# Whether the CDK app's packages are those of its lock file.
infra_is_installed() {
    [ "$(cat infra/node_modules/.made-from 2>/dev/null)" = "$(sha256sum <infra/package-lock.json)" ]
}

infra_install() {
    (cd infra && npm ci --no-audit --no-fund --loglevel=error) &&
        sha256sum <infra/package-lock.json >infra/node_modules/.made-from
}

# The first browser found that speaks Chromium's protocol.
chromium_path() {
    local name
    for name in chromium chromium-browser google-chrome google-chrome-stable; do
        command -v "$name" && return
    done
    return 1
}

# count NAME STATUS SECONDS
count() {
    times+=("$3 s $1")
    case $2 in
    0) passed=$((passed + 1)) && say "   ok      $1 ($3 s)" ;;
    "$SKIPPED") skipped=$((skipped + 1)) && say "   skipped $1 ($3 s)" ;;
    *) failed=$((failed + 1)) && failures+=("$1") && say "   FAILED  $1 (status $2, $3 s)" ;;
    esac
}

# step NAME COMMAND...: runs the command with its output in view. Never stops the script.
step() {
    local name=$1 start=$SECONDS status
    shift
    say "== $name: $*"
    "$@"
    status=$?
    count "$name" "$status" $((SECONDS - start))
    return "$status"
}

# quiet_step NAME COMMAND...: the same; shows the output only of a step that failed or was skipped.
quiet_step() {
    local name=$1 start=$SECONDS status output
    shift
    output=$("$@" 2>&1)
    status=$?
    if [ "$status" -ne 0 ]; then say "== $name: $*" && say "$output"; fi
    count "$name" "$status" $((SECONDS - start))
    return "$status"
}

# Ends the script: where the time went, which steps failed, then the line that test tools print.
finish() {
    say "longest: $(printf '%s\n' "${times[@]}" | sort -rn | head -n 8 | paste -sd ';' | sed 's/;/; /g'); in all $SECONDS s"
    if [ "$failed" -gt 0 ]; then say "failed: $(printf '%s; ' "${failures[@]}" | sed 's/; $//')"; fi
    say "$passed passed, $failed failed$([ "$skipped" -eq 0 ] || printf ', %s skipped' "$skipped")"
    [ "$failed" -eq 0 ]
    exit
}
