"""The console entry: `licenzy …` and `python -m licenzy …`."""

from __future__ import annotations

import os

from licenzy.factory import command_line


def main() -> None:
    """Run the command line and leave with its exit status."""
    # Whatever it and its children make, such as the sandbox's files, is their user's alone.
    os.umask(0o077)
    command_line()(prog_name="licenzy")


if __name__ == "__main__":
    main()
