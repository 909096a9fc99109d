"""Commands as a person and as a program meet them: output, exit status, one sentence on failure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from flask import Flask
from sqlalchemy import text

from licenzy.cli import make_command_line
from licenzy.cli.error_handling import LicenzyCommand
from licenzy.cli.wiring import Wiring
from licenzy.db import schema
from licenzy.db.unit_of_work import Database
from licenzy.deliveries.models import EventType
from licenzy.kit.stopping import StopSignal
from licenzy.runtime import Runtime
from licenzy.settings import Settings, SettingsError
from licenzy.workspace.factor_queries import second_factors
from licenzy.workspace.queries import sessions_of
from tests.support.cast import PASSWORD, Cast
from tests.support.clock import START
from tests.support.codes import app_of
from tests.support.next_version import migrate_further

Run = Callable[..., Result]


def no_runtime(_settings: Settings) -> Runtime:
    raise AssertionError("this test needs no runtime")


def not_here(_settings: Settings) -> None:
    raise AssertionError("a test of commands starts no server")


@pytest.fixture
def run(runtime: Runtime) -> Run:
    wiring = Wiring(
        settings=lambda: runtime.settings,
        make_runtime=lambda settings: replace(runtime, settings=settings),
        run_web=not_here,
        run_worker=not_here,
        run_sandbox=not_here,
        stop=StopSignal(),
    )

    def invoke(*arguments: str, **options: Any) -> Result:
        return CliRunner().invoke(make_command_line(wiring), arguments, **options)

    return invoke


def printed_json(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def test_a_key_is_made_listed_and_revoked(run: Run, cast: Cast) -> None:
    side = ("--project", cast.project_id, "--mode", "test")
    made = printed_json(run("keys", "create", *side, "--name", "backend", "--json"))
    assert made["api_key"].startswith("lz_test_")
    listed = printed_json(run("keys", "list", *side, "--json"))["keys"]
    assert [key["id"] for key in listed] == [made["id"]]
    assert made["api_key"] not in json.dumps(listed)
    revoked = printed_json(run("keys", "revoke", *side, made["id"], "--json"))
    assert revoked["revoked_at"] is not None
    assert "revoked" in run("keys", "list", *side).stdout


def test_an_endpoint_is_made_listed_and_disabled(run: Run, cast: Cast) -> None:
    side = ("--project", cast.project_id, "--mode", "test")
    made = printed_json(run("endpoints", "create", *side, "--url", "https://example.com/hook", "--json"))
    assert made["secret"].startswith("whsec_")
    assert made["types"] == [each.value for each in EventType]
    few = ("--type", "usage.low", "--type", "purchase.finalized")
    other = run("endpoints", "create", *side, "--url", "https://example.com/b", *few)
    assert other.stdout.startswith("whsec_")
    listed = printed_json(run("endpoints", "list", *side, "--json"))["endpoints"]
    assert [each["types"] for each in listed] == [["purchase.finalized", "usage.low"], made["types"]]
    assert made["secret"] not in json.dumps(listed)
    assert printed_json(run("endpoints", "disable", *side, made["id"], "--json"))["state"] == "disabled"
    assert "disabled" in run("endpoints", "list", *side).stdout
    assert "no webhook endpoints" in run("endpoints", "list", *side[:2], "--mode", "live").stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--url", "http://10.0.0.1/"), "url: is a private, local or reserved address, which is not allowed"),
        (("--url", "https://example.com/", "--type", "nonsense"), "types: no such event type: nonsense"),
    ],
)
def test_what_cannot_be_an_endpoint_is_refused_in_a_sentence(
    run: Run, cast: Cast, arguments: tuple[str, ...], said: str
) -> None:
    result = run("endpoints", "create", "--project", cast.project_id, "--mode", "test", *arguments)
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert said in result.stderr


def test_a_key_of_the_other_mode_is_not_found(run: Run, cast: Cast) -> None:
    made = printed_json(
        run("keys", "create", "--project", cast.project_id, "--mode", "test", "--name", "k", "--json")
    )
    result = run("keys", "revoke", "--project", cast.project_id, "--mode", "live", made["id"])
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert result.stderr.startswith("Error: This API key does not exist in this mode.")


@pytest.mark.parametrize(
    "arguments",
    [
        ("keys", "create", "--project", "prj_nowhere", "--mode", "test", "--name", "k"),
        ("keys", "list", "--project", "prj_nowhere", "--mode", "live"),
    ],
)
def test_an_unknown_project_is_one_sentence(run: Run, arguments: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: This project does not exist.")
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    "arguments",
    [
        ("forget", "caf\udce9", "--project", "p", "--mode", "test", "--yes"),
        ("keys", "rotate", "\udcff"),
        ("audit", "--action", "api_key.created", "--action", "\udcff"),
        ("audit", "--project", "\udcff"),
    ],
)
def test_bytes_that_are_no_text_are_wrong_usage(run: Run, arguments: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert (result.exit_code, result.stderr.count("not valid UTF-8")) == (2, 1)


def commands(group: click.Group, path: str = "licenzy") -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        yield f"{path} {name}", command
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")


def test_every_command_and_option_is_described_in_sentences_of_common_words(settings: Settings) -> None:
    unusual = re.compile(
        r"\b(mend|heal|tell|told|look|walk|held|hand|ask|asked|side|given up|parked)\b", re.I
    )
    wiring = Wiring(lambda: settings, no_runtime, not_here, not_here, not_here, StopSignal())
    wrong = []
    for name, command in commands(make_command_line(wiring)):
        options = [each for each in command.params if isinstance(each, click.Option)]
        for of, said in ((name, command.help), *((f"{name} {each.name}", each.help) for each in options)):
            sentences = (said or "").strip()
            if not re.fullmatch(r"[A-Z`].*\.", sentences, re.S) or unusual.search(sentences):
                wrong.append((of, sentences))
    assert wrong == []


def test_wrong_usage_is_status_two(run: Run) -> None:
    assert run("keys", "create").exit_code == 2
    assert run("keys", "create", "--project", "p", "--mode", "both", "--name", "n").exit_code == 2
    assert run("no-such-command").exit_code == 2
    assert run("demo", "--json").exit_code == 2


def test_somebody_is_added_and_gets_another_password(run: Run) -> None:
    made = printed_json(
        run(
            *("users", "create", "--email", "Ada@Example.com", "--name", "Ada", "--role", "admin"),
            *("--password-stdin", "--json"),
            input=f"{PASSWORD}\n",
        )
    )
    assert made["email"] == "ada@example.com"
    assert made["role"] == "admin"
    again = run(
        "users",
        "reset-password",
        "--email",
        "ada@example.com",
        "--password-stdin",
        input="Tulips & rain 72 now\n",
    )
    assert again.exit_code == 0, again.output


def test_a_second_factor_is_reset(run: Run, database: Database, runtime: Runtime, cast: Cast) -> None:
    app_of(database, runtime.secret_box, cast.owner.user_id)
    reset = ("users", "reset-second-factor", "--email")
    printed = printed_json(run(*reset, "Owner@example.com", "--json"))
    assert printed == {"email": "owner@example.com", "reset": True}
    with database.read() as db:
        assert not second_factors(db, user_id=cast.owner.user_id).has_any
        assert sessions_of(db, user_id=cast.owner.user_id, now=START) == []
    again = run(*reset, "owner@example.com")
    assert again.stdout.startswith("owner@example.com has no second factor now")
    unknown = run(*reset, "nobody@example.com")
    assert (unknown.exit_code, unknown.stdout) == (1, "")
    assert "No person has this e-mail address." in unknown.stderr


def test_a_weak_password_is_refused_with_the_reason(run: Run) -> None:
    result = run("users", "create", "--email", "ada@example.com", "--password-stdin", input="password\n")
    assert result.exit_code == 1
    assert "password:" in result.stderr


def test_upgrading_tells_the_revision(run: Run) -> None:
    assert printed_json(run("db", "upgrade", "--json"))["revision"].startswith("0")


SOMEWHERE = ("--project", "prj_1", "--mode", "test")


@pytest.mark.parametrize(
    "arguments",
    [
        ("db", "upgrade"),
        ("prepare",),
        ("check-schema",),
        ("worker",),
        ("doctor",),
        ("users", "create", "--email", "ada@example.com", "--password-stdin"),
        ("users", "reset-password", "--email", "ada@example.com", "--password-stdin"),
        ("users", "reset-second-factor", "--email", "ada@example.com"),
        ("keys", "list", *SOMEWHERE),
        ("endpoints", "list", *SOMEWHERE),
        ("apply", "shop.toml"),
        ("export",),
        ("reconcile",),
        ("replay", "--all"),
    ],
    ids=" ".join,
)
def test_a_database_that_is_too_new_is_refused_in_a_sentence(
    run: Run, database: Database, arguments: tuple[str, ...]
) -> None:
    migrate_further(database.engine, compatible_since=f"{schema.number_of(schema.head()) + 1:04}")
    result = run(*arguments, input=f"{PASSWORD}\n")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        "Error: The database is newer than this version of Licenzy. "
        "Install the version that upgraded it, or restore the backup from before the upgrade.\n"
    )


def test_a_newer_database_that_still_fits_is_used(run: Run, database: Database) -> None:
    revision = migrate_further(database.engine, compatible_since=schema.head())
    told_so = (
        f"The database is at {revision}, which is newer than this version of Licenzy and works with it. "
        "There is nothing to do.\n"
    )
    upgraded = run("db", "upgrade")
    assert (upgraded.exit_code, upgraded.stdout, upgraded.stderr) == (0, told_so, "")
    assert printed_json(run("db", "upgrade", "--json")) == {"revision": revision}
    prepared = run("prepare")
    assert (prepared.exit_code, prepared.stderr) == (0, told_so)
    assert printed_json(prepared)["live_connection"] is False
    assert run("check-schema").exit_code == 0
    assert run("doctor").exit_code == 0
    made = run("users", "create", "--email", "ada@example.com", "--password-stdin", input=f"{PASSWORD}\n")
    assert made.exit_code == 0, made.output


def test_a_database_that_is_not_migrated_is_refused_but_waited_for(run: Run, database: Database) -> None:
    with database.write() as db:
        db.execute(text("UPDATE alembic_version SET version_num = '0001_first'"))
    result = run("doctor")
    assert (result.exit_code, result.stderr) == (
        1,
        "Error: The database has not been migrated. Run `licenzy db upgrade`.\n",
    )
    assert run("check-schema").exit_code == 0, "`web` and `worker` wait for it"


def test_a_bad_setting_is_one_sentence() -> None:
    def bad() -> Settings:
        raise SettingsError("LICENZY_PORT must be a whole number from 1 to 65534.")

    wiring = Wiring(bad, lambda _settings: None, not_here, not_here, not_here, StopSignal())  # type: ignore[arg-type,return-value]
    result = CliRunner().invoke(make_command_line(wiring), ["db", "upgrade"])
    assert result.exit_code == 1
    assert result.stderr == "Error: LICENZY_PORT must be a whole number from 1 to 65534.\n"


def test_seeding_without_a_server_says_so(run: Run) -> None:
    result = run("demo", "--seed", "--json")
    assert result.exit_code == 1
    assert "licenzy serve" in result.stderr


@pytest.mark.parametrize("wrong", [["--existing", "5"], ["--seed", "--existing", "0"]])
def test_existing_customers_are_seeded_only(run: Run, wrong: list[str]) -> None:
    assert run("demo", *wrong).exit_code == 2


def test_flasks_own_command_line_has_the_same_commands(app: Flask, cast: Cast) -> None:
    result = app.test_cli_runner().invoke(
        args=["keys", "create", "--project", cast.project_id, "--mode", "live", "--name", "k", "--json"]
    )
    assert json.loads(result.output)["api_key"].startswith("lz_live_")


def test_the_demo_cannot_run_with_a_live_connection(
    run: Run, runtime: Runtime, cast: Cast, tmp_path: Path
) -> None:
    from licenzy.alignment.modes import Mode
    from licenzy.cli.seeding import has_live_connection
    from tests.support.cast import make_connection

    with runtime.database.write() as db:
        make_connection(db, project_id=cast.project_id, secret_box=runtime.secret_box)
        assert not has_live_connection(db)
        make_connection(db, project_id=cast.project_id, secret_box=runtime.secret_box, mode=Mode.LIVE)
        assert has_live_connection(db)


@pytest.mark.parametrize(("host", "shown"), [("127.0.0.1", True), ("192.0.2.4", False)])
def test_the_key_of_the_sandbox_is_shown_on_this_machine_alone(
    runtime: Runtime, cast: Cast, host: str, shown: bool
) -> None:
    from licenzy.cli.seeding import sandbox_key
    from tests.support.cast import make_connection

    with runtime.database.write() as db:
        connection = make_connection(db, project_id=cast.project_id, secret_box=runtime.secret_box)
    elsewhere = replace(runtime.settings, host=host, base_url=f"http://{host}:8000")
    key = sandbox_key(replace(runtime, settings=elsewhere), connection)
    assert (key is not None) is shown


def no_settings() -> Settings:
    raise AssertionError("this test needs no settings")


def test_words_that_are_no_text_are_refused_by_every_command() -> None:
    """A shell hands on bytes that are not UTF-8, which no database can hold."""
    wiring = Wiring(
        settings=no_settings,
        make_runtime=no_runtime,
        run_web=not_here,
        run_worker=not_here,
        run_sandbox=not_here,
        stop=StopSignal(),
    )
    line, asked = make_command_line(wiring), 0
    for name, command in commands(line):
        if isinstance(command, click.Group):
            continue
        assert isinstance(command, LicenzyCommand), name
        path = name.split()[1:]
        words: list[str] = []
        for param in command.params:
            texts = {
                "text": "some\udcffthing",
                "integer": "1",
                "choice": getattr(param.type, "choices", [""])[0],
            }
            value = texts.get(param.type.name)
            if value is None or not (param.required or param.type.name == "text"):
                continue
            words += [param.opts[0], value] if isinstance(param, click.Option) else [value]
        if any("\udcff" in word for word in words):
            result = CliRunner().invoke(line, [*path, *words])
            assert (result.exit_code, "not valid UTF-8" in result.output) == (2, True), (path, result.output)
            asked += 1
    assert asked > 15
