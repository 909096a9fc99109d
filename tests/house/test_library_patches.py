"""What runs in tests is what ships, unless `LICENZY_TESTS_FAST=1` asks for the patches of libraries."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# The names of what is another object after the tests were configured than before: of all modules of all
# libraries and of the product, and of their classes.
WHAT_IS_REPLACED = """
import importlib, json, sys
from types import SimpleNamespace

import tests.conftest
import licenzy.db.postgres
from licenzy.factory import create_app, load_models
from licenzy import api, hooks, portal, worker

load_models()


def attributes():
    found = {}
    for module_name, module in list(sys.modules.items()):
        top = module_name.partition(".")[0]
        if top in sys.stdlib_module_names or top == "tests" or module is None:
            continue
        for name, value in list(vars(module).items()):
            found[f"{module_name}.{name}"] = value
            if isinstance(value, type) and value.__module__ == module_name:
                for inner, thing in list(vars(value).items()):
                    found[f"{module_name}.{name}.{inner}"] = thing
    return found


before = attributes()
tests.conftest.pytest_configure(SimpleNamespace(addinivalue_line=lambda *_: None))
tests.conftest.pytest_collection_finish()
after = attributes()
known = {name.rpartition(".")[0] for name in before}
print(json.dumps([
    name for name, value in after.items()
    if before.get(name, before) is not value and (name in before or name.rpartition(".")[0] in known)
]))
"""


def replaced(**environ: str) -> set[str]:
    kept = {name: value for name, value in os.environ.items() if name != "LICENZY_TESTS_FAST"}
    done = subprocess.run(
        [sys.executable, "-c", WHAT_IS_REPLACED],
        cwd=ROOT,
        env=kept | environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout))


@pytest.mark.parametrize("environ", [{}, {"LICENZY_TESTS_FAST": "0"}, {"LICENZY_TESTS_FAST": ""}])
def test_nothing_is_replaced_unless_asked_for(environ: dict[str, str]) -> None:
    assert replaced(**environ) == set()


def test_the_patches_are_there_when_asked_for() -> None:
    assert replaced(LICENZY_TESTS_FAST="1") >= {
        "flask.app.Flask.jinja_options",
        "httpx._transports.default.create_ssl_context",
        "licenzy.db.postgres.DeadlineConnection",
        "psycopg.connect",
        "sqlalchemy.dialects.postgresql.psycopg.PGDialect_psycopg.initialize",
        "sqlalchemy.dialects.sqlite.pysqlite.SQLiteDialect_pysqlite.__eq__",
        "sqlalchemy.engine.base.Engine.__init__",
        "stripe._http_client.HTTPClient.INITIAL_DELAY",
        "werkzeug.routing.rules.Rule.compile",
        "whitenoise.base.WhiteNoise.add_files",
    }


@pytest.mark.parametrize(
    ("target", "runs"),
    [
        ("check", [("1", "not slow")]),
        (
            "all-tests",
            [("1", "not soak"), ("0", "tests/api tests/hooks tests/portal tests/cli tests/server")],
        ),
        ("soak", [("0", "-m soak")]),
    ],
)
def test_which_runs_have_the_patches(target: str, runs: list[tuple[str, str]]) -> None:
    told = subprocess.run(
        ["make", "--dry-run", "--no-print-directory", target],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MAKELEVEL"}},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    begun = [line for line in told.stdout.splitlines() if "-m pytest" in line]
    assert len(begun) == len(runs)
    for line, (fast, words) in zip(begun, runs, strict=True):
        assert line.startswith(f"LICENZY_TESTS_FAST={fast} ")
        assert words in line
