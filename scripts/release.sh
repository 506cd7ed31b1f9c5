# Sourced by what builds for others: settings under which the same commit, lock file and toolchain make the same bytes
# on any machine and in any folder (docs/SECURITY.md; scripts/reproduce tries it).
#
# Cargo cannot say this by profile on stable Rust (`trim-paths` is not there yet), and flags in .cargo/config.toml would
# hold for debug builds too, which want their paths: so they are in the environment of release builds. Builds with and
# without them replace each other in target/release; scripts that build for release one after another share them.
# shellcheck shell=bash

# release_flags: exports what a release build is made with. Wants $ROOT.
release_flags() {
    local home target sysroot commit from to rust=() c=()
    home=$(realpath -m "${CARGO_HOME:-$HOME/.cargo}")
    target=$(realpath -m "${CARGO_TARGET_DIR:-$ROOT/target}")
    sysroot=$(rustc --print sysroot)
    commit=$(rustc -vV | sed -n 's/^commit-hash: //p')
    # Where sources and what is made from them lie on this machine, and the names that they get in what is built. Of two
    # that match the later one holds. The last is where the standard library lies if its sources are installed; those
    # who built it have named it so.
    while IFS=$'\t' read -r from to; do
        # Cargo splits its list of flags at blanks, and so does everybody with CFLAGS.
        case $from in *[[:space:]]*) say "release: no path with a blank can be kept out of a build: $from" && return 1 ;; esac
        rust+=("--remap-path-prefix=$from=$to")
        c+=("-ffile-prefix-map=$from=$to")
    done <<<"$ROOT	/posthaste
$target	/posthaste/target
$home/registry/src	/cargo/registry/src
$sysroot/lib/rustlib/src/rust	/rustc/$commit"
    # These go before the next one: with them it would not hold.
    unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS
    export CARGO_BUILD_RUSTFLAGS="${rust[*]}" RELEASE_RUSTFLAGS="${rust[*]}" CFLAGS="${c[*]}"
    SOURCE_DATE_EPOCH=$(source_date) && export SOURCE_DATE_EPOCH
}

# The time that files in a package bear: that of the commit, or where there is no repository, of the last release.
source_date() {
    git -C "$ROOT" log -1 --format=%ct 2>/dev/null ||
        date --utc --date="$(sed -n '/^ -- /{s/.*>  //p;q}' "$ROOT/infra/deb/changelog")" +%s
}
