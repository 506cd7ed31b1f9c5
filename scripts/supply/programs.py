"""What each program is made of: its crates as cargo resolves them for one program and one target, and what comes in
inside of them without being a crate: C code, files for browsers, the standard library.
"""

import json
import re
import subprocess
import tomllib
from collections import namedtuple
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]

# name -> the cargo package that holds it.
PROGRAMS = {"daemon": "posthaste", "lambda": "posthaste-lambda", "loadgen": "posthaste-loadgen"}

# `key` is "name@version". `linked`: its code may be in the program; else it only runs while that is built.
Crate = namedtuple("Crate", "key name version linked features licence folder ours checksum repository authors needs")

# A part that is no crate. `crate` is whose sources hold it; `texts` are files below that crate's folder.
Part = namedtuple("Part", "crate name version licence purl texts")

PARTS = (
    Part("tikv-jemalloc-sys", "jemalloc", None, "BSD-2-Clause", "pkg:github/jemalloc/jemalloc@{}", ("jemalloc/COPYING",)),
    Part("ring", "boringssl (parts)", "as in ring", "Apache-2.0 AND ISC AND MIT", None,
         ("LICENSE", "LICENSE-other-bits", "third_party/fiat/LICENSE")),
    Part("posthaste-api", "swagger-ui-dist", None, "Apache-2.0", "pkg:npm/swagger-ui-dist@{}",
         ("assets/swagger-ui/NOTICE", "assets/swagger-ui/swagger-ui-bundle.js.LICENSE.txt")),
    Part("posthaste-api", "redoc", None, "MIT", "pkg:npm/redoc@{}",
         ("assets/redoc/LICENSE", "assets/redoc/redoc.standalone.js.LICENSE.txt")),
)  # fmt: skip

# The standard library's own crates; those not under MIT or Apache-2.0 at the taker's choice with what they are under.
STANDARD_LIBRARY = {
    "addr2line": None, "adler2": None, "cfg-if": None, "compiler_builtins": None, "gimli": None, "hashbrown": None,
    "libc": None, "memchr": "Unlicense OR MIT", "miniz_oxide": None, "object": None, "rustc-demangle": None,
}  # fmt: skip


def run(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=TOP).stdout


def metadata():
    return json.loads(run("cargo", "metadata", "--format-version", "1", "--locked", "--all-features"))


def host():
    return re.search(r"^host: (.+)$", run("rustc", "-vV"), re.MULTILINE)[1]


def tree(package, target, edges, *options):
    return run("cargo", "tree", "--locked", "-p", package, "--target", target, "-e", edges, *options)


def crates(program, target):
    """The crates of a program by their keys; the program's own package is one of them."""
    package = PROGRAMS[program]
    linked = {key for _, key, _ in rows(tree(package, target, "normal,no-proc-macro", *ROWS))}
    features, needs, way = {}, {}, []
    for depth, key, given in rows(tree(package, target, "normal,build", *ROWS)):
        features.setdefault(key, set()).update(given)
        needs.setdefault(key, set())
        del way[depth:]
        if way:
            needs[way[-1]].add(key)
        way.append(key)
    known = {f"{one['name']}@{one['version']}": one for one in metadata()["packages"]}
    needs = {key: without_idle(known[key], wanted) for key, wanted in needs.items()}
    checksums = locked_checksums()
    return {
        key: described(known[key], key in linked, features[key], needs[key], checksums.get(key))
        for key in sorted(reached(way[0], needs))
    }


def without_idle(package, wanted):
    """Without what only a build script needs that the package does not have: cargo lists it, and never builds it."""
    if any("custom-build" in target["kind"] for target in package["targets"]):
        return wanted
    names = {one["name"] for one in package["dependencies"] if one["kind"] is None}
    return {key for key in wanted if key.partition("@")[0] in names}


def reached(root, needs):
    found = {root}
    queue = [root]
    for key in queue:
        queue += needs[key] - found
        found |= needs[key]
    return found


ROWS = ("--prefix", "depth", "--format", " {p}|{f}")


def rows(text):
    """(depth, key, features) of each line of `cargo tree`."""
    for line in text.splitlines():
        if found := re.match(r"(\d+) (\S+) v([^ |]+)[^|]*\|(\S*)", line):
            yield int(found[1]), f"{found[2]}@{found[3]}", [one for one in found[4].split(",") if one]


def described(package, linked, features, needs, checksum):
    return Crate(
        key=f"{package['name']}@{package['version']}",
        name=package["name"],
        version=package["version"],
        linked=linked,
        features=sorted(features),
        # "A/B" is what crates.io took for "A OR B" before SPDX.
        licence=re.sub(r"\s*/\s*", " OR ", package["license"]) if package["license"] else None,
        folder=Path(package["manifest_path"]).parent,
        ours=package["source"] is None,
        checksum=checksum,
        repository=package["repository"],
        authors=package["authors"],
        needs=sorted(needs),
    )


def locked_checksums():
    lock = tomllib.loads((TOP / "Cargo.lock").read_text(encoding="utf-8"))
    return {f"{one['name']}@{one['version']}": one.get("checksum") for one in lock["package"]}


def parts(found):
    """The parts that come with these crates: (part with its version, the crate that holds it)."""
    by_name = {crate.name: crate for crate in found.values() if crate.linked}
    for part in PARTS:
        if crate := by_name.get(part.crate):
            version = part.version or part_version(part, crate)
            yield part._replace(version=version, purl=part.purl and part.purl.format(version)), crate


def part_version(part, crate):
    # tikv-jemalloc-sys says it behind the plus sign of its own version.
    if found := re.search(r"\+(\d+\.\d+\.\d+)", crate.version):
        return found[1]
    said = (crate.folder / "assets" / "README.md").read_text(encoding="utf-8")
    return re.search(rf"`{re.escape(part.name)}` ([\d.]+)", said)[1]
