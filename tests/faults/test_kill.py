"""`kill -9` at every point of receiving and applying events: nothing acknowledged is lost or doubled."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.faults import raw_rows
from tests.support.databases import PostgresServer

SEED = os.environ.get("LICENZY_TEST_SEED", "7")
"""Set another one to choose other orders, points and repetitions."""
ROOT = Path(__file__).resolve().parents[2]
ALLOWED = {"__future__", "json", "sqlite3", "collections", "collections.abc", "typing", "psycopg"}


def campaign(count: int, *asked: str, seed: str = SEED) -> dict[str, Any]:
    """The report of a campaign, run by a process that has no threads: it forks all the time."""
    command = [sys.executable, "-m", "tests.faults", "--count", str(count), "--seed", seed, *asked]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def assert_right(report: dict[str, Any], count: int) -> None:
    share = report["in_flight"] / max(1, report["injections"])
    print(f"N = {report['injections']}, seed {report['seed']}, in flight {share:.0%}: {report}")
    assert report["wrong"] == []
    assert report["injections"] >= count
    assert share >= 0.5, "most of these crashes hit nothing"
    assert report["uncommitted"] >= 0.3 * count
    if count > 1.2 * report["points"]:
        assert report["reached"] == report["points"]


def test_60_crashes() -> None:
    assert_right(campaign(60), 60)


# In two parts, so that two cores share them; together they hold every point.
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("part", ["1/2", "2/2"])
def test_300_crashes_of_600(part: str) -> None:
    assert_right(campaign(300, "--part", part, seed=f"{SEED}-{part}"), 300)


@pytest.mark.slow
def test_crashes_while_settling_at_the_sandbox() -> None:
    assert_right(campaign(100, "--sandbox"), 100)


@pytest.mark.slow
def test_100_crashes_on_postgres(postgres: PostgresServer) -> None:
    with postgres.lent() as url:
        assert_right(campaign(100, "--postgres", url), 100)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_10000_crashes() -> None:
    assert_right(campaign(10_000), 10_000)


@pytest.mark.parametrize(
    ("mistake", "found"),
    [
        ("dedupe_off", "told 2 facts"),
        ("two_transactions", "is paid and nothing is granted"),
        ("answer_before_the_commit", "was acknowledged and is lost"),
    ],
)
@pytest.mark.slow
def test_a_planted_mistake_is_found(mistake: str, found: str) -> None:
    report = campaign(120, "--story", "a pack", "--mistake", mistake)
    assert any(found in wrong for wrong in report["wrong"]), report


def test_the_checker_shares_no_code_with_the_product() -> None:
    nodes = list(ast.walk(ast.parse(Path(raw_rows.__file__).read_text(encoding="utf-8"))))
    imported = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}
    assert imported <= ALLOWED
