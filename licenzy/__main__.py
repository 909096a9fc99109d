"""The console entry: `licenzy …` and `python -m licenzy …`."""

from __future__ import annotations

import os
import sys

from licenzy.kit.stopping import StopSignal

_LONG_RUNNING = {"serve", "web", "worker", "sandbox"}


def main() -> None:
    """Run the command line and leave with its exit status."""
    # Whatever it and its children make, such as the sandbox's files, is their user's alone.
    os.umask(0o077)
    stop = StopSignal()
    runs_until_stopped = bool(_LONG_RUNNING & set(sys.argv[1:2]))
    if runs_until_stopped:
        # Before the command line is imported, so that a stop just after the start is heard as well.
        stop.listen()
    from licenzy.factory import command_line

    try:
        command_line(stop)(prog_name="licenzy")
    except SystemExit as leaving:
        if runs_until_stopped and isinstance(leaving.code, int):
            stop.leave(leaving.code)
        raise


if __name__ == "__main__":
    main()
