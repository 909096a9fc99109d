"""One call of one version: its rounds, and what they cost."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

from tests.bench.load import Round, Target, load
from tests.bench.memory import cpu_seconds

_QUIET = 0.08
"""Of a processor: less than that is what processes take that have nothing to do."""
_PATIENCE = 60.0
_ATTEMPTS = 5
"""Of a round in which nothing is answered: on a busy machine one may be too short for slow calls."""


@dataclass(slots=True)
class Case:
    """What is called, of which version, and every round of it."""

    name: str
    """Under which the same call of another version is found."""
    database: str
    subjects: int
    version: str
    target: Target
    roots: list[int]
    """Whose processor time the calls take: the server's and, where there is one, the database's."""
    rounds: list[Round] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    is_disturbed: bool = False
    """Whether something else goes on meanwhile, for which single calls may go unanswered."""

    def run(self, seconds: float) -> None:
        """One round more."""
        for _ in range(_ATTEMPTS):
            before = self.spent()
            done = load(self.target, seconds=seconds)
            spent = self.spent() - before
            if done.right or done.wrong:
                break
        what = f"{self.name} ({self.version} version, {self.database})"
        assert done.wrong == 0, f"{what}: {done.wrong} answers were wrong, such as: {done.example}"
        assert done.unanswered == 0 or self.is_disturbed, f"{what}: {done.unanswered} calls were not answered"
        assert done.right, f"{what}: nothing was answered"
        self.rounds.append(done)
        self.cpu.append(1e6 * spent / done.right)

    def spent(self) -> float:
        """Seconds of processors that its processes have taken so far."""
        return sum(cpu_seconds(root) for root in self.roots)

    @property
    def rate(self) -> float:
        """Right answers a second, in the middle one of the rounds."""
        return median(each.per_second for each in self.rounds)

    @property
    def p50_ms(self) -> float:
        return median(each.p50_ms for each in self.rounds)

    @property
    def p99_ms(self) -> float:
        return median(each.p99_ms for each in self.rounds)

    @property
    def cpu_us(self) -> float:
        """Of processors, for each call."""
        return median(self.cpu)

    @property
    def unanswered(self) -> int:
        return sum(each.unanswered for each in self.rounds)


def warm_up(cases: Sequence[Case], *, seconds: float) -> None:
    """One round of each that does not count."""
    for case in cases:
        case.run(seconds)
        case.rounds.clear()
        case.cpu.clear()


def alternate(cases: Sequence[Case], *, rounds: int, seconds: float) -> None:
    """All cases in turn, there and back, so that what else the machine does meets them alike."""
    for number in range(rounds):
        for case in reversed(cases) if number % 2 else cases:
            case.run(seconds)


def alternate_to_the_end(cases: Sequence[Case], *, rounds: int, seconds: float) -> None:
    """The same for calls that leave work behind: its cost is theirs, whenever it is done."""
    before = [_when_quiet(case) for case in cases]
    alternate(cases, rounds=rounds, seconds=seconds)
    for case, begun in zip(cases, before, strict=True):
        answered = sum(each.right for each in case.rounds)
        case.cpu = [1e6 * (_when_quiet(case) - begun) / answered]


def _when_quiet(case: Case) -> float:
    """What its processes have spent as soon as they have nothing to do any more."""
    until, spent = time.monotonic() + _PATIENCE, case.spent()
    while time.monotonic() < until:
        time.sleep(1)
        before, spent = spent, case.spent()
        if spent - before < _QUIET:
            break
    return spent
