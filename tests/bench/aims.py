"""What the product aims at, and whether a run has met it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.bench.cases import Case


@dataclass(frozen=True, slots=True)
class Compared:
    """One call of both versions; `undisturbed` are the new one's checks with nothing else going on."""

    new: Case
    old: Case | None
    undisturbed: Case | None
    of_constant: float
    """The new one's rate as a ratio of the constant route's."""


@dataclass(frozen=True, slots=True)
class Measure:
    """What is looked at of a call, and how it is shown."""

    name: str
    of: Callable[[Case], float]
    shown: Callable[[Case], str]
    is_rate: bool = False

    def ratio(self, compared: Compared) -> float | None:
        """New to old; none without an old one."""
        return self.of(compared.new) / self.of(compared.old) if compared.old else None


RATE = Measure("requests/s", lambda case: case.rate, lambda case: f"{case.rate:,.0f}", is_rate=True)
P99 = Measure("p99 ms", lambda case: case.p99_ms, lambda case: f"{case.p99_ms:.1f}")
CPU = Measure("CPU ms a call", lambda case: case.cpu_us, lambda case: f"{case.cpu_us / 1000:.2f}")


@dataclass(frozen=True, slots=True)
class Aim:
    """What is aimed at in one call; `database` is empty for whatever it is measured on."""

    name: str
    database: str
    measure: Measure
    words: str = ""
    is_met: Callable[[Compared], bool | None] = lambda _compared: None
    """None when that cannot be told, such as without an old version."""
    baseline: str = ""
    """The call of the same version that it is compared with; the same call of the old one where none is."""


def _at_least(times: float) -> Callable[[Compared], bool | None]:
    def is_met(compared: Compared) -> bool | None:
        ratio = RATE.ratio(compared)
        return None if ratio is None else round(ratio, 2) >= times

    return is_met


def _at_most(measure: Measure, times: float) -> Callable[[Compared], bool | None]:
    def is_met(compared: Compared) -> bool | None:
        ratio = measure.ratio(compared)
        return None if ratio is None else round(ratio, 2) <= times

    return is_met


def _undisturbed(times: float) -> Callable[[Compared], bool | None]:
    def is_met(compared: Compared) -> bool | None:
        if compared.undisturbed is None:
            return None
        is_quick = round(compared.new.p99_ms / compared.undisturbed.p99_ms, 2) <= times
        return is_quick and compared.new.unanswered == 0

    return is_met


AIMS = (
    Aim(
        "behind_front",
        "",
        RATE,
        "at least 0.7 of the constant route",
        lambda compared: round(compared.of_constant, 2) >= 0.7,
    ),
    Aim("healthz", "", RATE),
    Aim("check", "SQLite", RATE, "at least 0.9 times", _at_least(0.9)),
    Aim("check", "SQLite", P99, "not higher", _at_most(P99, 1.0)),
    Aim("check", "Postgres", RATE, "at least 1.4 times", _at_least(1.4)),
    Aim("check", "Postgres", P99),
    Aim("consume", "SQLite", RATE, "at least 1.9 times", _at_least(1.9)),
    Aim("consume", "Postgres", RATE, "at least 1.4 times", _at_least(1.4)),
    Aim("plan", "", RATE, "at least 0.9 of a plain check", _at_least(0.9), baseline="check"),
    Aim("window", "", RATE, "at least 0.85 of one from a pack", _at_least(0.85), baseline="consume"),
    Aim("hot", "SQLite", RATE),
    Aim("hot", "Postgres", RATE, "at least 2.8 times", _at_least(2.8)),
    Aim("webhook", "", CPU, "at most 0.5 times", _at_most(CPU, 0.5)),
    Aim("check while Stripe hangs", "", P99, "at most twice the undisturbed", _undisturbed(2.0)),
    Aim("check while the portal is busy", "", P99, "at most three times the undisturbed", _undisturbed(3.0)),
)
