"""Many crashes: each time a process dies, Stripe sends again, the worker has a turn, and rows are read."""

from __future__ import annotations

import itertools
import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from tests.faults import raw_rows
from tests.faults.processes import Ended, Parent, Process
from tests.faults.shop import Break, Deliver, Mend, Step, Story, Work

BEGINNING = "beginning"
AGAIN = 0.3
"""How much of what was acknowledged is sent again all the same."""
ON = 0.15
"""How many cases go on to the end of their story; the others have shown to stand where no crash would
have left them, so that the rest of the story would be the same."""
TWICE = 0.3
"""How many cases beyond the first round are killed once more while they recover."""
_RECOVERY_AFTER = 150
_MOST_WRONG = 5

Picture = dict[str, list[str]]


@dataclass(frozen=True)
class Case:
    """One process killed at one point of one step of one story told in one order; maybe killed again."""

    story: int
    order: int
    step: int
    point: int
    seed: str
    later: int | None = None


@dataclass
class Truth:
    """A story without a crash: the points of each step, and the rows before and after each."""

    is_one: bool
    labels: list[list[str]] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)

    def allowed(self, step: int) -> Sequence[Picture]:
        """What a process that died in this step may have left behind: all of a step or nothing of it."""
        return self.pictures if self.is_one else self.pictures[step : step + 2]


@dataclass
class Report:
    """What a campaign did and found."""

    seed: str
    points: int = 0
    """This part of the places in the told orders of all stories, each of them a case of its own.

    Those of a process that has another one beside it are left out: the quicker leaves the other less to do.
    """
    reached: int = 0
    injections: int = 0
    in_flight: int = 0
    """A transaction was open, or the answer not yet sent."""
    uncommitted: int = 0
    """Rows had been written and not been committed."""
    while_recovering: int = 0
    seconds: float = 0.0
    processor_seconds: float = 0.0
    """What it would take alone on one core: its own time and that of all its processes."""
    by_story: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)


class Campaign:
    """Runs cases against one database."""

    def __init__(
        self,
        parent: Parent,
        stories: Sequence[Story],
        *,
        seed: str,
        part: tuple[int, int] = (1, 1),
        plant: Callable[[], None] | None = None,
    ) -> None:
        self.part = part
        self.parent = parent
        self.place = parent.place
        self.stories = stories
        self.seed = seed
        self.plant = plant
        self.report = Report(seed)
        self._orders = [_orders(story) for story in stories]
        self._truths: dict[tuple[int, int], Truth] = {}
        self._survivor: Process | None = None

    def run(self, count: int) -> Report:
        """At least `count` injections, every point of every story first where the count allows it."""
        started, used = time.monotonic(), _processor_seconds()
        told = [case for number in range(len(self.stories)) for case in self._points_of(number)]
        number, parts = self.part
        told = told[number - 1 :: parts]
        self.report.points = sum(not self.stories[case.story].concurrent for case in told)
        if count < len(told):
            told = random.Random(self.seed).sample(told, len(told))
        for number, case in enumerate(itertools.chain(told, self._further())):
            before = self.report.injections
            self._try(case)
            if number < len(told) and not self.stories[case.story].concurrent:
                self.report.reached += self.report.injections > before
            if self.report.injections >= count or len(self.report.wrong) >= _MOST_WRONG:
                break
        if self._survivor is not None:
            self._survivor.end()
        self.report.seconds = round(time.monotonic() - started, 1)
        self.report.processor_seconds = round(_processor_seconds() - used, 1)
        return self.report

    def _points_of(self, story: int) -> Iterator[Case]:
        for step, labels in enumerate(self.truth(story, 0).labels):
            for point in range(1, len(labels) + 1):
                yield Case(story, 0, step, point, f"{self.seed}:{story}:{step}:{point}")

    def _further(self) -> Iterator[Case]:
        chance = random.Random(f"{self.seed} further")
        for number in itertools.count():
            story = chance.randrange(len(self.stories))
            order = chance.randrange(len(self._orders[story]))
            steps = self.truth(story, order).labels
            step = chance.randrange(len(steps))
            later = chance.randint(1, 2 * len(steps[step])) if chance.random() < TWICE else None
            point = chance.randint(1, len(steps[step]))
            yield Case(story, order, step, point, f"{self.seed}:{number}", later)

    # --- one case --------------------------------------------------------------------------------

    def _try(self, case: Case) -> None:
        story, chance = self.stories[case.story], random.Random(case.seed)
        truth, steps = self.truth(case.story, case.order), self._orders[case.story][case.order]
        self.place.reset(_kept(case.story, case.order, case.step))
        lists = _lists(story, steps, case.step)
        done = [*story.before, *steps[: case.step]]
        acknowledged, said, trail = _events(done), list[str](), list[str]()
        on = story.is_one or chance.random() < ON
        kill_at: int | None = case.point
        for round_ in itertools.count(1):
            ended = self._run(lists, kill_at)
            said += [trouble for each in ended for trouble in each.trouble]
            for each, did in zip(ended, lists, strict=True):
                acknowledged |= _events(did[number] for number in each.acknowledged)
            killed = [each.killed for each in ended if each.killed]
            if killed:
                trail.append(killed[0]["killed"])
                self._count(story, killed[0], round_)
                allowed = truth.allowed(case.step) if round_ == 1 and story.concurrent is None else None
                said += self._after_a_kill(story, acknowledged, allowed)
            elif round_ > 1:
                break
            rest = steps[case.step + 1 :] if on and round_ == 1 else ()
            lists = [_recovery(story, lists, ended, done, rest, chance, round_)]
            kill_at = case.later if round_ == 1 else None
        told = story.events if on else _events(steps[: case.step + 1])
        said += [f"{one} was never acknowledged" for one in told - acknowledged]
        said += self._in_the_end(story, acknowledged, truth.pictures[-1 if on else case.step + 1], on)
        if said:
            self.report.wrong.append(
                f"{story.name}, {case}, killed {' and '.join(trail)}: {'; '.join(said[:4])}"
            )

    def _run(self, lists: Sequence[Sequence[Step]], kill_at: int | None) -> list[Ended]:
        """Have a process for each list do its steps at the same time; the first one may die.

        One that may die is new. The other goes on from case to case, as a server does beside a dead one.
        """
        if self._survivor is None or not self._survivor.alive:
            self._survivor = self.parent.fork(self.plant)
        mortal = [self.parent.fork(self.plant)] if kill_at is not None else []
        working = [*mortal, self._survivor][: len(lists)]
        for process, steps in zip(working, lists, strict=True):
            process.order(steps, kill_at=kill_at if process in mortal else None)
        ended = [process.outcome() for process in working]
        for process in mortal:
            process.end()
        return ended

    def _count(self, story: Story, killed: dict[str, object], round_: int) -> None:
        self.report.injections += 1
        self.report.in_flight += bool(killed["in_flight"])
        self.report.uncommitted += bool(killed["uncommitted"])
        self.report.while_recovering += round_ > 1
        self.report.by_story[story.name] = self.report.by_story.get(story.name, 0) + 1

    def _after_a_kill(
        self, story: Story, acknowledged: set[str], allowed: Sequence[Picture] | None
    ) -> list[str]:
        """Nothing acknowledged is lost, and no half of a step was ever committed."""
        rows = raw_rows.read(self.place.url)
        said = raw_rows.damage(self.place.url)
        said += raw_rows.complaints(rows, acknowledged=acknowledged, sent=story.events)
        if allowed is not None and raw_rows.picture(rows) not in allowed:
            said.append("the rows are neither those before nor those after the step in flight")
        return said

    def _in_the_end(self, story: Story, acknowledged: set[str], picture: Picture, whole: bool) -> list[str]:
        """The rows are those that a run without a crash leaves, and those that a person expects."""
        rows = raw_rows.read(self.place.url)
        said = raw_rows.complaints(rows, acknowledged=acknowledged, sent=story.events)
        said += raw_rows.differences(raw_rows.picture(rows), picture)
        if whole:
            said += raw_rows.damage(self.place.url)
            said += raw_rows.unfinished(
                rows, sent=story.events, expected=story.expected, settled=story.settle
            )
        return said

    # --- the same without a crash ----------------------------------------------------------------

    def truth(self, number: int, order: int) -> Truth:
        """The story told in peace; found once, and kept step by step."""
        known = self._truths.get((number, order))
        if known is None:
            known = self._truths[number, order] = self._find_truth(number, order)
        return known

    def _find_truth(self, number: int, order: int) -> Truth:
        story, steps = self.stories[number], self._orders[number][order]
        truth = Truth(story.is_one)
        process = self.parent.fork()
        self.place.reset(BEGINNING)
        in_peace(process, story.before)
        self._see(truth, number, order)
        for step in [*steps, *(story.concurrent or ())]:
            truth.labels.append(in_peace(process, [step]))
            self._see(truth, number, order)
        rows = raw_rows.read(self.place.url)
        said = raw_rows.complaints(rows, acknowledged=story.events, sent=story.events)
        said += raw_rows.unfinished(rows, sent=story.events, expected=story.expected, settled=story.settle)
        assert not said, f"{story.name} goes wrong without any crash: {said}"
        if story.is_one:
            self.place.reset(_kept(number, order, 0))
            truth.labels = [in_peace(process, steps)]
        process.end()
        if order:
            assert truth.pictures[-1] == self.truth(number, 0).pictures[-1], (
                f"{story.name}: the order matters"
            )
        return truth

    def _see(self, truth: Truth, number: int, order: int) -> None:
        self.place.keep(_kept(number, order, len(truth.pictures)))
        truth.pictures.append(raw_rows.picture(raw_rows.read(self.place.url)))


def in_peace(process: Process, steps: Sequence[Step]) -> list[str]:
    """Have steps done without a crash; the points that were passed."""
    process.order(steps)
    ended = process.outcome()
    assert not ended.trouble, ended.trouble
    return ended.labels


def _processor_seconds() -> float:
    return sum(os.times()[:4])


def _orders(story: Story) -> list[Sequence[Step]]:
    if not story.any_order:
        return [story.steps]
    return list(itertools.permutations(story.steps))


def _lists(story: Story, steps: Sequence[Step], at: int) -> list[Sequence[Step]]:
    """What each process does from step `at` on: that step alone, unless the story is one piece."""
    if story.is_one:
        return [steps] if story.concurrent is None else [steps, story.concurrent]
    return [steps[at : at + 1]]


def _kept(story: int, order: int, step: int) -> str:
    return f"s{story}_{order}_{step}"


def _events(steps: Sequence[Step] | Iterator[Step]) -> set[str]:
    return {step.event["id"] for step in steps if isinstance(step, Deliver)}


def _recovery(
    story: Story,
    lists: Sequence[Sequence[Step]],
    ended: Sequence[Ended],
    done: Sequence[Step],
    rest: Sequence[Step],
    chance: random.Random,
    round_: int,
) -> list[Step]:
    """Stripe sends again what was not acknowledged, and some of the rest; then the worker has a turn."""
    again: list[Step] = []
    for steps, each in zip(lists, ended, strict=True):
        for number, step in enumerate(steps):
            if isinstance(step, Deliver) and (number not in each.acknowledged or chance.random() < AGAIN):
                again.append(step)
    again += [step for step in done if isinstance(step, Deliver) and chance.random() < AGAIN]
    again += rest
    if chance.random() < 0.5:
        chance.shuffle(again)
    mend = [Mend()] if any(isinstance(step, Break) for step in story.steps) else []
    return [*mend, *again, Work(after=_RECOVERY_AFTER * round_, settle=story.settle)]
