"""A sender that works until there is nothing to do, on the time that a test has set."""

from __future__ import annotations

from licenzy.deliveries.sending import Sender


def drain(sender: Sender) -> int:
    """Send all that is due now, and write it down; how many tries were made."""
    count = 0
    while (begun := sender.round()) or sender._under_way or sender._unrecorded:
        count += begun
        while sender._under_way:
            sender._await(0.25)
    return count
