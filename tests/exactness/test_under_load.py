"""Consumption over HTTP from several processes, while workers are killed: not a unit too many or too few."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from licenzy.settings import Settings
from tests.exactness import campaign, client, raw_rows
from tests.exactness.campaign import Report
from tests.exactness.served import MISTAKES
from tests.support.sizes import sizes

ALLOWED = {"__future__", "json", "sqlite3", "collections", "collections.abc", "typing", "psycopg"}


def assert_exact(report: Report, *, keys: int, kills: int) -> None:
    print(f"N = {report.keys}: {report}")
    assert report.wrong == []
    assert report.keys >= keys
    assert report.calls >= 2 * report.keys
    assert report.replays >= report.keys, "every key was sent twice"
    assert report.refused > report.keys // 50, "the balances must come to their end"
    assert report.kills >= kills
    assert report.in_flight * 2 >= report.kills, "most of these kills hit nothing"


@pytest.mark.slow
@pytest.mark.timeout(900)
@sizes("keys,kills", sqlite=(6_000, 8), postgres=(3_000, 5), soak=(20_000, 20))
def test_thousands_of_consumes_and_some_kills(
    settings: Settings, tmp_path: Path, keys: int, kills: int
) -> None:
    assert_exact(campaign.run(settings, tmp_path, keys=keys, kills=kills), keys=keys, kills=kills)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_100000_consumes_and_80_kills(settings: Settings, tmp_path: Path) -> None:
    command = ["-m", "licenzy", "web"]
    assert_exact(
        campaign.run(settings, tmp_path, keys=100_000, kills=80, command=command), keys=100_000, kills=80
    )


@pytest.mark.slow
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("mistake", "found"),
    [("dedupe_off", "was answered in 2 ways"), ("read_then_write", "its ledger")],
)
def test_a_planted_mistake_is_found(settings: Settings, tmp_path: Path, mistake: str, found: str) -> None:
    assert set(MISTAKES) == {"dedupe_off", "read_then_write"}
    command = ["-m", "tests.exactness.served", mistake]
    report = campaign.run(settings, tmp_path, keys=1200, kills=0, command=command)
    assert any(found in wrong for wrong in report.wrong), report


def test_checker_and_clients_share_no_code_with_the_product() -> None:
    for module, more in (
        (raw_rows, set()),
        (client, {"argparse", "itertools", "random", "socket", "time", "pathlib"}),
    ):
        nodes = list(ast.walk(ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))))
        imported = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        imported |= {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}
        assert imported <= ALLOWED | more
