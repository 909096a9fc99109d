"""The console entry: `licenzy …` and `python -m licenzy …`."""

from __future__ import annotations

from licenzy.factory import command_line


def main() -> None:
    """Run the command line and leave with its exit status."""
    command_line()(prog_name="licenzy")


if __name__ == "__main__":
    main()
