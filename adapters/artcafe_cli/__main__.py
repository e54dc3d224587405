"""The `artcafe` command from its first instant, and `python -m artcafe_cli`: what holds before anything is imported."""

from __future__ import annotations

import os
import sys

INTERRUPTED = 130
"""Exit status of what Ctrl-C has ended, as shells have it."""

try:
    import signal  # which takes a while by itself
except KeyboardInterrupt:
    sys.exit(INTERRUPTED)


def main() -> None:
    """Run the command line. Never returns."""
    interruptible = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if interruptible:
        signal.signal(signal.SIGINT, _leave)  # what is imported has nothing to tidy up
    open_standard_streams()
    try:
        __import__("rich")  # which cyclopts may do only later
        from artcafe_cli.main import main as run
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("cyclopts", "rich"):
            raise
        print(f"artcafe: the command needs {error.name}: pip install 'artcafe-proto[cli]'", file=sys.stderr)
        sys.exit(1)
    try:
        if interruptible:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        run()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def open_standard_streams() -> None:
    """Open to nowhere what was closed: else it is missing, and what is opened next is taken for it."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):  # the lowest descriptor is taken first
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, open(descriptor, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 as the others


def _leave(*_: object) -> None:
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    main()
