"""The report says what became of each aim, and the bench measures only when it is told to."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.bench.cases import Case
from tests.bench.load import Round, Target
from tests.bench.memory import Memory, cpu_seconds
from tests.bench.plan import plan_of
from tests.bench.report import Footprint, Found, report
from tests.bench.shop import Shop
from tests.bench.versions import ROOT, commit_of

TARGET = Target(1, Shop("lz_test_none", "con_none", "price_none", 1000))


def case(
    name: str, version: str, *, rate: int, p99: float = 10.0, cpu: float = 100.0, unanswered: int = 0
) -> Case:
    rounds = [Round(rate, 0, unanswered, rate // 2, 1.0, 3.0, p99)] * 3
    return Case(name, "SQLite", 1000, version, TARGET, [], rounds, [cpu] * 3, name.startswith("check while"))


def lines(found: Found) -> dict[str, list[str]]:
    """The cells behind the first one of each line of what is aimed at."""
    text = report(found).partition("Every row of the run")[0]
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")][1:]
    return {row[0]: [cell.strip() for cell in row[1:]] for row in rows}


def footprint(peak: float) -> Footprint:
    return Footprint(Memory(6, 300.0, peak), 200.0, 0.5)


def test_each_aim_is_met_or_missed_against_the_old_version() -> None:
    hang, busy = "check while Stripe hangs", "check while the portal is busy"
    cases = [
        case("constant", "", rate=10_000),
        case("behind_front", "", rate=6_900),
        case("check", "old", rate=10_000, p99=12.0),
        case("check", "new", rate=9_000, p99=13.0),
        case("consume", "old", rate=1_000),
        case("consume", "new", rate=1_900),
        case("webhook", "old", rate=100, cpu=6_000),
        case("webhook", "new", rate=150, cpu=3_100),
        case(hang, "old", rate=5_000, p99=200.0),
        case(hang, "new", rate=5_000, p99=26.0),
        case(busy, "old", rate=5_000, p99=200.0),
        case(busy, "new", rate=5_000, p99=13.0, unanswered=1),
    ]
    found = Found({"old": "aaaaaaa", "new": "bbbbbbb"}, cases, {"old": footprint(400), "new": footprint(440)})

    told = lines(found)

    assert told["the constant Flask route behind the front: requests/s"] == [
        "", "–", "6,900 (0.69)", "–", "at least 0.7 of the constant route", "**missed**",
    ]  # fmt: skip
    assert told["`access/check`, 1,000 subjects: requests/s"] == [
        "SQLite", "10,000 (1.00)", "9,000 (0.90)", "**0.90**", "at least 0.9 times", "met",
    ]  # fmt: skip
    assert {name: cells[-1] for name, cells in told.items() if "requests/s" not in name and cells[-1]} == {
        "`access/check`, 1,000 subjects: p99 ms": "**missed**",
        "webhook receipt (a renewed subscription): CPU ms a call": "**missed**",
        "`access/check` while 64 checkouts wait for Stripe: p99 ms": "met",
        "`access/check` while eight pages render and four sign-ins hash: p99 ms": "**missed**",
        "memory of everything that `make run` starts: MiB at its peak": "met",
    }
    assert told["`usage/consume`, spread over 5,000 subjects: requests/s"][-1] == "met"
    assert "3 of the disturbed calls were not answered" in report(found)


def test_without_an_old_version_nothing_is_said_of_what_is_aimed_at_against_one() -> None:
    cases = [case("constant", "", rate=10_000), case("check", "new", rate=9_000)]
    found = Found({"new": "bbbbbbb"}, cases, {"new": footprint(440)})

    told = lines(found)

    assert told["`access/check`, 1,000 subjects: requests/s"] == [
        "SQLite", "–", "9,000 (0.90)", "–", "at least 0.9 times", "–",
    ]  # fmt: skip
    assert "No old version was measured" in report(found)
    assert "The constant route behind the front was not measured" in report(found)


def test_help_is_printed_instead_of_measuring() -> None:
    asked = subprocess.run(
        [sys.executable, "-m", "tests.bench", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "BENCH_SIZES" in asked.stdout
    assert "OLD" in asked.stdout


def test_the_environment_says_what_is_measured() -> None:
    plan = plan_of({"OLD": "", "BENCH_SIZES": "10,1000", "BENCH_ROUNDS": "2", "BENCH_DATABASES": "SQLite"})
    assert (plan.old, plan.sizes, plan.main_size, plan.rounds) == ("", (10, 1000), 1000, 2)
    assert plan.databases == ("SQLite",)


def test_what_is_no_commit_is_not_measured() -> None:
    assert commit_of("") == commit_of("no-such-branch-anywhere") == ""


def test_processor_time_includes_that_of_processes_which_have_ended() -> None:
    before = cpu_seconds(os.getpid())
    busy = "import time\nwhile time.process_time() < 0.3: pass"
    subprocess.run([sys.executable, "-c", busy], check=True, timeout=60)
    assert cpu_seconds(os.getpid()) - before >= 0.25
