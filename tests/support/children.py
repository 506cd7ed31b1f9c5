"""Child processes as a test wants them: none outlives it, and Ctrl-C ends each."""

import ctypes
import os
import signal
import subprocess

PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None, use_errno=True)


def goes_with_us():
    """To be called in a child, as `preexec_fn`, by the thread that lives as long as the test does.

    The kernel kills the child when its parent is gone, however that ended. And SIGINT ends it, as it does on a terminal:
    who is started with `nohup … &` or by a shell's `&` has it ignored, and every child would inherit that.
    """
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def without_settings():
    """Our environment, without what the daemon would take for a setting, which is every variable of this prefix; ours are
    the tests' own."""
    return {name: value for name, value in os.environ.items() if not name.startswith("POSTHASTE_")}


def serve(binary, data, settings, *more, environment=(), prepare=goes_with_us):
    """`posthaste serve` with these settings and arguments. What it prints comes as text, by one pipe."""
    command = [binary, "serve", "--data-dir", data, *more]
    for name, value in settings.items():
        command += ["--set", f"{name}={value}"]
    return subprocess.Popen(
        command,
        env={**without_settings(), **dict(environment)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        preexec_fn=prepare,
    )
