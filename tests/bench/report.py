"""What the bench found, as the Markdown that docs/performance.md shows."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from tests.bench.aims import AIMS, Aim, Compared
from tests.bench.apps import THREADS, WORKERS
from tests.bench.cases import Case
from tests.bench.load import CONNECTIONS, generator
from tests.bench.memory import Memory

_DOC = Path(__file__).resolve().parents[2] / "docs" / "performance.md"
_BEGIN, _END = "<!-- measured: begin -->", "<!-- measured: end -->"
_NONE = "–"

_TITLES = {
    "constant": "a constant Flask route",
    "plan": "check of a plan with three units",
    "window": "consume from a window",
    "no_op": "a no-op RSGI application",
    "behind_front": "the constant Flask route behind the front",
    "healthz": "`/healthz`",
    "check": "`access/check`, {subjects:,} subjects",
    "consume": "`usage/consume`, spread over 5,000 subjects",
    "hot": "`usage/consume`, all from one subject",
    "webhook": "webhook receipt (a renewed subscription)",
    "check while Stripe hangs": "`access/check` while 64 checkouts wait for Stripe",
    "check while the portal is busy": "`access/check` while eight pages render and four sign-ins hash",
}


@dataclass(frozen=True, slots=True)
class Footprint:
    """What all that `make run` starts takes, and by how many MiB its workers grow in 100,000 requests."""

    memory: Memory
    workers_peak: float
    growth: float | None


@dataclass(slots=True)
class Found:
    """Everything that one run has measured; `versions` are the commits by the versions' names."""

    versions: dict[str, str]
    cases: list[Case] = field(default_factory=list)
    footprints: dict[str, Footprint] = field(default_factory=dict)

    def case(self, name: str, database: str, subjects: int, version: str) -> Case | None:
        """The one of these, if it was measured."""
        wanted = (name, database, subjects, version)
        return next(
            (one for one in self.cases if (one.name, one.database, one.subjects, one.version) == wanted), None
        )

    def of_constant(self, case: Case) -> float:
        """Its rate as a ratio of the constant route's, which was measured between its rounds."""
        constant = self.case("constant", case.database, case.subjects, "")
        assert constant is not None, "the constant route is always measured"
        return case.rate / constant.rate


def document(found: Found, *, is_written: bool) -> None:
    """Print what was found, and put it into the documentation in place of what was found last."""
    text = report(found)
    print(text)
    if is_written:
        page = _DOC.read_text(encoding="utf-8")
        before, _, rest = page.partition(_BEGIN)
        _, _, after = rest.partition(_END)
        _DOC.write_text(f"{before}{_BEGIN}\n{text}\n{_END}{after}", encoding="utf-8")


def report(found: Found) -> str:
    """The introduction, what is aimed at, and every row."""
    constant = next(case for case in found.cases if case.name == "constant")
    answered = sum(each.right for case in found.cases for each in case.rounds)
    return "\n".join(
        [
            f"Measured {datetime.now(UTC):%Y-%m-%d} at commit {found.versions['new']} on {_machine()}: "
            f"Python {platform.python_version()}, Flask {version('flask')}, Granian "
            f"{version('granian')} with {WORKERS} workers, of {THREADS} threads for the constant route; "
            f"load by {generator()} with {CONNECTIONS} connections on the same machine, "
            f"{len(constant.rounds)} alternating rounds of {constant.rounds[0].seconds:.0f} s each. "
            f"{_old(found)}{_left_out(found)}",
            "",
            "Medians of the rounds; in brackets what the rate is of the constant route's.",
            "",
            "| what | database | old | new | new/old | aim | result |",
            "|---|---|---|---|---|---|---|",
            *(_aimed_at(found, aim, compared) for aim in AIMS for compared in _compared(found, aim)),
            *_memory(found),
            "",
            "Every row of the run:",
            "",
            "| call | database | version | of the constant route | requests/s (median) "
            "| lowest and highest round | p50 ms | p99 ms | CPU µs a call |",
            "|---|---|---|---|---|---|---|---|---|",
            *(_row(found, case) for case in found.cases),
            "",
            f"All {answered:,} answers were right. {_unanswered(found)}CPU counts every process of the "
            "version and of its Postgres, for webhooks until the worker has done what they leave to it.",
            "",
            *_footprints(found),
        ]
    )


def _old(found: Found) -> str:
    if "old" in found.versions:
        return f"The old version is commit {found.versions['old']}, with the same rows in its database."
    return "No old version was measured beside it, so nothing is said of what is aimed at against one."


def _left_out(found: Found) -> str:
    if any(case.name == "behind_front" for case in found.cases):
        return ""
    return " The constant route behind the front was not measured: this version has no front."


def _unanswered(found: Found) -> str:
    count = sum(case.unanswered for case in found.cases)
    return f"{count:,} of the disturbed calls were not answered, or by 503. " if count else ""


def _compared(found: Found, aim: Aim) -> Iterator[Compared]:
    """What an aim is about, once for each database and size."""
    seen = dict.fromkeys(
        (case.database, case.subjects)
        for case in found.cases
        if case.name == aim.name and aim.database in {"", case.database}
    )
    for database, subjects in seen:
        new, old, undisturbed = (
            found.case(name, database, subjects, version)
            for name, version in (
                (aim.name, "new"),
                (aim.baseline, "new") if aim.baseline else (aim.name, "old"),
                ("check", "new"),
            )
        )
        # What has nothing to do with the product stands among what is new.
        new = new or found.case(aim.name, database, subjects, "")
        if new is not None:
            yield Compared(new, old, undisturbed, found.of_constant(new))


def _aimed_at(found: Found, aim: Aim, compared: Compared) -> str:
    def shown(case: Case | None) -> str:
        if case is None:
            return _NONE
        of_constant = f" ({found.of_constant(case):.2f})" if aim.measure.is_rate else ""
        return f"{aim.measure.shown(case)}{of_constant}"

    ratio = aim.measure.ratio(compared)
    return _line(
        f"{_title(compared.new)}: {aim.measure.name}",
        "" if compared.new.version == "" else compared.new.database,
        shown(compared.old),
        shown(compared.new),
        ratio,
        aim.words,
        aim.is_met(compared),
    )


def _memory(found: Found) -> Iterator[str]:
    old, new = found.footprints.get("old"), found.footprints.get("new")
    if new is not None:
        ratio = new.memory.peak / old.memory.peak if old else None
        yield _line(
            "memory of everything that `make run` starts: MiB at its peak",
            "",
            f"{old.memory.peak:,.0f}" if old else _NONE,
            f"{new.memory.peak:,.0f}",
            ratio,
            "at most 1.1 times",
            None if ratio is None else round(ratio, 2) <= 1.1,
        )


def _line(
    what: str, database: str, old: str, new: str, ratio: float | None, aim: str, is_met: bool | None
) -> str:
    mark = {True: "met", False: "**missed**", None: _NONE}[is_met]
    between = _NONE if ratio is None else f"**{ratio:.2f}**"
    return f"| {what} | {database} | {old} | {new} | {between} | {aim or _NONE} | {mark} |"


def _row(found: Found, case: Case) -> str:
    rates = [each.per_second for each in case.rounds]
    cpu = _NONE if case.is_disturbed else f"{case.cpu_us:,.0f}"  # It would be that of the disturbance.
    return (
        f"| {_title(case)} | {case.database if case.version else ''} | {case.version or _NONE} "
        f"| **{found.of_constant(case):.2f}** | {case.rate:,.0f} | {min(rates):,.0f} – {max(rates):,.0f} "
        f"| {case.p50_ms:.1f} | {case.p99_ms:.1f} | {cpu} |"
    )


def _title(case: Case) -> str:
    beside = f" (beside {case.database} with {case.subjects:,})" if case.name == "constant" else ""
    return _TITLES[case.name].format(subjects=case.subjects) + beside


def _footprints(found: Found) -> Iterator[str]:
    for name, one in found.footprints.items():
        growth = "" if one.growth is None else f" Growth: {max(one.growth, 0):.1f} MiB in 100,000 requests."
        yield (
            f"- Memory of everything that `make run` starts, {name} version ({one.memory.processes} "
            f"processes): {one.memory.pss:.0f} MiB after the load with shared pages counted once; "
            f"**{one.memory.peak:.0f} MiB** when each process's own peak is added up, of which "
            f"the web workers take {one.workers_peak:.0f} MiB.{growth}"
        )


def _machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return f"{os.cpu_count()} cores of {model or platform.machine()}"
