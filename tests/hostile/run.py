"""All tests of hostile receivers, tenants and callers against one binary, one after the other.

    run.py [PATH-OF-POSTHASTE [NAME...]]

A name is one of the files here, without `.py`. PROVE_LONG=1 asks for the long forms, which take most of an hour.
"""

import subprocess
import sys

from common import DEBUG_BINARY, HERE, SKIPPED
from children import goes_with_us

ALL = ("endpoints", "callers", "tenants", "canaries", "signatures", "poison", "cloud")


def main():
    binary = sys.argv[1] if len(sys.argv) > 1 else DEBUG_BINARY
    failed = []
    for name in sys.argv[2:] or ALL:
        print(f"hostile: {name}", flush=True)
        command = [sys.executable, HERE / f"{name}.py", binary]
        if subprocess.run(command, preexec_fn=goes_with_us).returncode not in (0, SKIPPED):
            failed.append(name)
    if failed:
        sys.exit(f"hostile: not held: {', '.join(failed)}")


if __name__ == "__main__":
    main()
