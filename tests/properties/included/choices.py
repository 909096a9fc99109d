"""Where the rules of included units leave room: one function for each decision.

Each docstring begins with the sentence that it is about.
"""

from __future__ import annotations


class NotDefined(Exception):
    """The rules do not say what a history gives."""


# --- size ------------------------------------------------------------------------------------------------


def counted_after_change(counted: int, wanted: int, *, is_paid: bool) -> int:
    """“Σ(units × quantity × seconds held). A rise counts once an invoice with a proration line is paid.”

    A fall counts from its own second, whatever its proration. A rise that is not paid leaves what counted
    before, also after a fall that does not go below it.
    """
    return wanted if wanted <= counted or is_paid else counted


def rise_counts_from(changed: int, paid: int) -> int:
    """“A rise counts once an invoice with a proration line for it is paid.”

    Paid late, it counts from the change: from then on it is on the invoice.
    """
    return min(changed, paid)


def trial_size(units: int, trial_units: int | None, quantity: int) -> int:
    """“One window … of `trial_units` or the included units”: times the quantity, as outside of a trial."""
    return (units if trial_units is None else trial_units) * quantity


def rise_counts_in_trial() -> bool:
    """“A rise counts once an invoice with a proration line for it is paid”: in a trial nothing is paid."""
    return False


def is_taken_back(*, is_refunded: bool) -> bool:
    """“A refunded proration invoice takes back the rise it paid for, down to what is used.”

    The window is as if the rise had never been paid for; what is used beyond comes off the next, as after
    a fall.
    """
    return is_refunded


def check_same_step(before: str | None, after: str | None) -> None:
    """“Later windows of the same period start with the item as it then is.”

    How a window of one step counts units of another is not defined: such prices change with a period only.
    """
    if before is not None and after is not None and before != after:
        raise NotDefined(f"from a window of a {before} to one of a {after} within a period")


# --- bounds ----------------------------------------------------------------------------------------------


def counts_as_paid(pause: str | None) -> bool:
    """“`keep_as_draft` and `mark_uncollectible` count as paid”: for periods that begin in the pause."""
    return pause in {"keep_as_draft", "mark_uncollectible"}


def first_instant(opens: int, end: int) -> int:
    """“A period paid late opens its window when paid.”

    Of the windows that were over by then none ever opens; of a period that was over as a whole, the last
    one does, and stays usable as the last window of the last paid period.
    """
    return min(opens, end - 1)


def start_of_running_step(step: int, period: int, *, follows_paid: bool) -> int:
    """“Day and week windows run across periods while the next is paid.”

    A window that began in a paid period goes on in the next; its end is never cut. After a period that was
    not paid, the first one is cut on the left and has its whole size.
    """
    return step if follows_paid else max(step, period)


def added_size_before() -> int:
    """“A rise counts once an invoice with a proration line for it is paid.”

    An item that is added within a period rises from nothing: once its proration is paid, the window of the
    running step opens with the share of the time that is left. Without an invoice, its next period opens.
    """
    return 0


# --- what one window leaves to the next ------------------------------------------------------------------


def owed_by_next(size: int, overdrawn: int, spent: int) -> int:
    """“What a fall leaves overdrawn comes off the next window.”

    What was taken of a window counts like what is used of it, so that what one window is too small for
    comes off the one after.
    """
    return max(0, spent + overdrawn - size)


def earned(size: int, passed: int, seconds: int) -> int:
    """“⌊granted × seconds passed ÷ seconds of the window⌋”: of the size by the facts, up to the new start."""
    return size * max(0, min(passed, seconds)) // seconds


def owed_after_credit(earned_units: int, overdrawn: int, spent: int) -> int:
    """“overdrawn = max(0, used + reserved − ⌊…⌋) of the running window comes off it, written once.”

    What was taken of the running window counts like what is used of it: otherwise every second reset gives
    a whole window for nothing.
    """
    return max(0, spent + overdrawn - earned_units)


def size_to_carry(size: int, earned_units: int, *, credited: bool) -> int:
    """“carried = min(size − spent_at_end, at_most)”: of time that was credited nothing is carried."""
    return earned_units if credited else size


def carried(left: int, returned: int, at_most: int | None) -> int:
    """“At most `at_most` units; later returns of reservations are added up to that”: in all, used or not."""
    units = max(0, left + returned)
    return units if at_most is None else min(units, at_most)


def trial_leaves_debts() -> bool:
    """“Trial windows carry nothing”: neither units nor what is overdrawn."""
    return False


# --- helpers ---------------------------------------------------------------------------------------------


def rounded_up(weighted: int, seconds: int) -> int:
    """“Time-weighted in whole seconds, one rounding up.”"""
    return -(-weighted // seconds)
