"""`licenzy keys`: scopes, expiry, rotation and the search for leaked keys, as a program meets them."""

from __future__ import annotations

import io
import json
import os
import secrets
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from licenzy.alignment.modes import Mode
from licenzy.api_keys.leaks import keys_in
from licenzy.api_keys.rules import SECRET_BYTES, make_key
from licenzy.cli import make_command_line
from licenzy.cli.wiring import Wiring
from licenzy.db.unit_of_work import Database
from licenzy.kit.clock import rfc3339
from licenzy.kit.stopping import StopSignal
from licenzy.settings import Settings, SettingsError
from tests.cli.test_commands import Run, not_here, printed_json, run
from tests.support import cast as make
from tests.support.cast import Cast
from tests.support.clock import START, StandingClock

__all__ = ["run"]


@pytest.fixture
def side(cast: Cast) -> tuple[str, ...]:
    return ("--project", cast.project_id, "--mode", "test", "--json")


def test_scopes_and_expiry_are_chosen(run: Run, side: tuple[str, ...]) -> None:
    create = ("keys", "create", *side, "--name", "k")
    assert printed_json(run(*create))["scopes"] == ["runtime"]
    made = printed_json(run(*create, "--scope", "audit", "--scope", "read", "--expires", "2031-03-09"))
    assert made["scopes"] == ["read", "audit"]
    assert made["expires_at"].startswith("2031-03-09T23:59:59")
    assert "read,audit" in run("keys", "list", *side[:-1]).stdout
    assert run(*create, "--scope", "write").exit_code == 2
    assert run(*create, "--expires", "soon").exit_code == 2
    past = run(*create, "--expires", "2001-01-01")
    assert past.exit_code == 1
    assert "in the past" in past.stderr


@pytest.mark.parametrize(
    ("word", "overlap"),
    [
        ("0", timedelta(0)),
        ("30m", timedelta(minutes=30)),
        ("24h", timedelta(days=1)),
        ("7d", timedelta(days=7)),
    ],
)
def test_a_key_is_rotated(
    run: Run, side: tuple[str, ...], clock: StandingClock, word: str, overlap: timedelta
) -> None:
    old = printed_json(run("keys", "create", *side, "--name", "backend", "--scope", "read"))
    rotated = printed_json(run("keys", "rotate", old["id"], "--overlap", word, "--json"))
    assert (rotated["name"], rotated["scopes"]) == ("backend", ["read"])
    assert rotated["api_key"] != old["api_key"]
    assert rotated["replaced"]["replaced_by"] == rotated["id"]
    assert rotated["replaced"]["expires_at"] == rfc3339(clock() + overlap)
    assert f"replaced by {rotated['id']}" in run("keys", "list", *side[:-1]).stdout
    again = run("keys", "rotate", old["id"])
    assert again.exit_code == 1


def test_wrong_rotations_are_refused(run: Run, cast: Cast) -> None:
    assert run("keys", "rotate", "key_none", "--overlap", "soon").exit_code == 2
    assert run("keys", "rotate", "key_none", "--overlap", "99999999d").exit_code == 2
    unknown = run("keys", "rotate", "key_none")
    assert (unknown.exit_code, unknown.stdout) == (1, "")


@pytest.fixture
def keys(database: Database, cast: Cast) -> dict[str, str]:
    """One key of each state, by its name."""
    project: dict[str, Any] = {"project_id": cast.project_id}
    with database.write() as db:
        return {
            "active": make.make_key(db, name="shop", **project)[1],
            "live": make.make_key(db, name="shop", mode=Mode.LIVE, **project)[1],
            "revoked": make.make_key(db, revoked_at=START, **project)[1],
            "expired": make.make_key(db, expires_at=START, **project)[1],
            "unknown": make_key(Mode.LIVE, secrets.token_bytes(SECRET_BYTES)),
        }


def scanned(run: Run, *arguments: str, status: int, **options: Any) -> dict[str, Any]:
    result = run("keys", "scan", "--json", *arguments, **options)
    assert result.exit_code == status, result.output
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def test_leaked_keys_are_found_with_their_place_and_state(
    run: Run, cast: Cast, keys: dict[str, str], tmp_path: Path
) -> None:
    tmp_path /= "tree"  # The installation is beside it.
    (tmp_path / "b").mkdir(parents=True)
    (tmp_path / ".git").mkdir()
    (tmp_path / "a.env").write_text(f"# one\nKEY={keys['active']}\n{keys['live']}{keys['revoked']}\n")
    (tmp_path / "b" / "c.bin").write_bytes(
        b"\0\xff\n" + keys["expired"].encode() + b"\0" + keys["unknown"].encode()
    )
    (tmp_path / "b" / "typo.txt").write_text(keys["active"][:-1] + "_" + "lz_test_" + "a" * 49)
    (tmp_path / ".git" / "config").write_text(keys["active"])
    found = scanned(run, str(tmp_path), status=1)
    places = [(each["path"], each["line"], each["state"]) for each in found["findings"]]
    a, c = str(tmp_path / "a.env"), str(tmp_path / "b" / "c.bin")
    assert places == [
        (a, 2, "active"), (a, 3, "active"), (a, 3, "revoked"), (c, 2, "expired"), (c, 2, "unknown"),
    ]  # fmt: skip
    assert (found["found"], found["active"], found["files"], found["database"]) == (5, 2, 3, True)
    first = found["findings"][0]
    assert (first["name"], first["project_id"], first["project"]) == ("shop", cast.project_id, "Our project")
    assert scanned(run, "--include-git", str(tmp_path), status=1)["found"] == 6
    text = run("keys", "scan", str(tmp_path))
    assert text.exit_code == 1
    assert f"{a}:2: lz_test_…{keys['active'][-4:]} active, “shop” of Our project" in text.stdout
    for token in keys.values():
        assert token not in repr(found) + text.output
        assert token[8:-4] not in repr(found) + text.output


def test_without_a_living_key_the_status_is_0(run: Run, keys: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "notes"
    path.write_text(keys["revoked"] + "\n" + keys["unknown"])
    assert scanned(run, str(path), status=0)["found"] == 2
    assert run("keys", "scan", str(tmp_path / "nothing")).exit_code == 2
    assert run("keys", "scan").exit_code == 2


def test_standard_input_is_read(run: Run, keys: dict[str, str]) -> None:
    found = scanned(run, "-", status=1, input=f"+++\n+{keys['active']}\n")
    assert [(each["path"], each["line"]) for each in found["findings"]] == [("standard input", 2)]


def test_links_pipes_and_names_of_files(run: Run, keys: dict[str, str], tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text(keys["active"])
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "folder").symlink_to(outside)
    (inside / "file").symlink_to(outside / "secret")
    os.mkfifo(inside / "pipe")
    (inside / f"{keys['live']}\x1b[31m").write_text(keys["revoked"])
    found = scanned(run, str(inside), status=0)
    assert found["found"] == 1
    assert keys["live"] not in repr(found)
    assert "\x1b" not in run("keys", "scan", str(inside)).output
    for given in (inside / "folder", inside / "file", inside / "pipe"):
        assert scanned(run, str(given), status=0)["unread_count"] == 1


def test_a_scan_works_without_a_database_and_opens_none_for_nothing(
    keys: dict[str, str], tmp_path: Path
) -> None:
    def none_here() -> Settings:
        raise SettingsError("LICENZY_INSTANCE cannot be used as a folder.")

    wiring = Wiring(none_here, lambda _settings: None, not_here, not_here, not_here, StopSignal())  # type: ignore[arg-type,return-value]

    def invoke(*arguments: str, **options: Any) -> Any:
        return CliRunner().invoke(make_command_line(wiring), arguments, **options)

    path = tmp_path / "file"
    path.write_text("nothing")
    clean = invoke("keys", "scan", str(path))
    assert (clean.exit_code, clean.stderr) == (0, "")
    path.write_text(keys["active"])
    found = scanned(invoke, str(path), status=0)
    assert [each["state"] for each in found["findings"]] == ["unknown"]
    assert found["database"] is False
    assert "unknown" in invoke("keys", "scan", str(path)).stderr


@pytest.mark.parametrize("before", [0, 1, 56, 57, 58, 100])
def test_a_key_cut_in_two_by_reading_is_found_once(before: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("licenzy.api_keys.leaks._CHUNK_BYTES", 60)
    token = make_key(Mode.TEST, secrets.token_bytes(SECRET_BYTES))
    text = "\n" * before + token + "x\n" + token + "\n" * 200 + token
    found = list(keys_in(io.BytesIO(text.encode()), name="file"))
    assert [each.line for each in found] == [before + 1, before + 2, before + 202]
