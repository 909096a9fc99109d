"""`licenzy forget` as a person and as a program meet it."""

from __future__ import annotations

import json
from collections.abc import Callable

from click.testing import Result

from licenzy.forgetting.actions import SECOND_ROUND
from licenzy.runtime import Runtime
from tests.cli.test_commands import run
from tests.support.cast import Cast, make_subject
from tests.support.clock import StandingClock

__all__ = ["run"]
Run = Callable[..., Result]


def test_a_customer_is_erased_and_a_second_call_finishes_it(
    run: Run, runtime: Runtime, cast: Cast, clock: StandingClock
) -> None:
    with runtime.database.write() as db:
        subject = make_subject(db, project_id=cast.project_id, subject_ref="ada_lovelace")
    asked = ("forget", "ada_lovelace", "--project", cast.project_id, "--mode", "test")
    assert run(*asked, input="n\n").exit_code == 1
    first = json.loads(run(*asked, "--yes", "--json").stdout)
    assert (first["subject_id"], first["already_erased"]) == (subject.id, False)
    assert first["remaining"] == "second_round"
    clock.now += SECOND_ROUND
    second = json.loads(run(*asked, "--yes", "--json").stdout)
    assert second == {**first, "already_erased": True, "remaining": "nothing"}
    assert "was already erased" in run(*asked, "--yes").output


def test_nobody_is_not_found(run: Run, cast: Cast) -> None:
    result = run("forget", "nobody", "--project", cast.project_id, "--mode", "test", "--yes")
    assert result.exit_code == 1
    assert "does not exist" in result.output
