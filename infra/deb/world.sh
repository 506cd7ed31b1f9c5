# Sourced by the tests of the package: a system to try it on, and how a fault is told.
# A world is this machine's files, seen through an overlay in memory that is thrown away with its mount namespace.
# shellcheck shell=bash
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../scripts/lib.sh"

UNIT=posthaste.service
CONFIG=/etc/posthaste/posthaste.toml
KEY=/etc/credstore/posthaste.auth.admin-key

faults=0

# expect WHAT COMMAND...: the command must succeed.
expect() {
    local what=$1 output
    shift
    output=$("$@" 2>&1) && return
    faults=$((faults + 1))
    say "FAULT: $what: $*"
    [ -z "$output" ] || say "$output"
}

# refuse WHAT COMMAND...: the command must fail.
refuse() { expect "$1" not "${@:2}"; }
not() { ! "$@"; }

is() { [ "$1" = "$2" ] || { say "it is: $1"; return 1; }; }

# quiet COMMAND...: succeeds, and says nothing.
quiet() {
    local output
    output=$("$@" 2>&1) && [ -z "$output" ] && return
    say "$output"
    return 1
}

tell_and_exit() {
    say "$faults faults"
    [ "$faults" -eq 0 ]
    exit
}

# make_world PLACE: the world is in $WORLD, what is written to it in $UPPER. False where nothing can be mounted.
make_world() {
    WORLD=$1/world
    UPPER=$1/upper
    mount -t tmpfs tmpfs "$1" 2>/dev/null && mkdir -p "$1"/{upper,work,world} &&
        mount -t overlay overlay -o "lowerdir=/,upperdir=$UPPER,workdir=$1/work" "$WORLD" 2>/dev/null || return
    mount -t proc proc "$WORLD/proc" && mount -t tmpfs tmpfs "$WORLD/run" && mount -t tmpfs tmpfs "$WORLD/tmp" &&
        mount -t tmpfs tmpfs "$WORLD/dev" || return
    # Nodes, not this machine's: a service with devices of its own makes them after these.
    local node
    for node in null:3 zero:5 full:7 random:8 urandom:9; do
        mknod -m 666 "$WORLD/dev/${node%:*}" c 1 "${node#*:}" || return
    done
    mknod -m 666 "$WORLD/dev/tty" c 5 0 && mkdir "$WORLD/dev"/{pts,shm} && ln -s pts/ptmx "$WORLD/dev/ptmx" &&
        ln -s /proc/self/fd "$WORLD/dev/fd" || return
    # Images for containers say with this that nothing may be started; this is no image.
    rm -f "$WORLD/usr/sbin/policy-rc.d"
}

# with_world SCRIPT PACKAGE NAMESPACE...: runs the script again, as `SCRIPT --inside PACKAGE PLACE`, in namespaces of its
# own; what is mounted there goes with them, however it ends.
with_world() {
    local script=$1 deb=$2 place status
    shift 2
    { have dpkg-deb && have systemd-analyze; } || { say "no dpkg or no systemd here"; exit "$SKIPPED"; }
    [ "$(id -u)" -eq 0 ] || { say "only root can make a system to try it on"; exit "$SKIPPED"; }
    place=$(mktemp -d)
    unshare --mount --propagation private "$@" "$script" --inside "$deb" "$place"
    status=$?
    rmdir "$place"
    exit "$status"
}
