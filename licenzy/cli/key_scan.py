"""`licenzy keys scan`: API keys in files that should have none."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from licenzy.cli.error_handling import LicenzyCommand, json_option, print_json
from licenzy.cli.wiring import Wiring, pass_wiring
from licenzy.errors import LicenzyError
from licenzy.settings import SettingsError

if TYPE_CHECKING:
    from licenzy.api_keys.leaks import LeakedKey
    from licenzy.runtime import Runtime

_STDIN = "-"
_MOST_LISTED = 1000
_MOST_REMEMBERED = 10_000
_UNKNOWN: dict[str, Any] = {
    "state": "unknown",
    "key_id": None,
    "name": None,
    "project_id": None,
    "project": None,
}


@dataclass
class _Tally:
    """What a scan came to."""

    files: int = 0
    found: int = 0
    active: int = 0
    unread: list[str] = field(default_factory=list)
    unread_count: int = 0

    def note_unread(self, path: str) -> None:
        self.unread_count += 1
        if len(self.unread) < _MOST_LISTED:
            self.unread.append(path)

    def note_read(self) -> None:
        self.files += 1


@click.command("scan", cls=LicenzyCommand)
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, allow_dash=True))
@click.option(
    "--include-git",
    is_flag=True,
    help="Also read .git folders. Commits are compressed: for those, "
    "run `git log -p --all | licenzy keys scan -`.",
)
@json_option
@pass_wiring
def scan(wiring: Wiring, paths: tuple[str, ...], include_git: bool, as_json: bool) -> None:
    """Find Licenzy API keys in files and folders, or in standard input (-).

    Exits with status 1 when a key is found that still works. Keys are shown masked. A key is unknown when it
    belongs to another installation, or when the database cannot be read.
    """
    lookup, tally = _KeyLookup(wiring), _Tally()
    listed: list[dict[str, Any]] = []
    for leak in _leaks(paths, include_git, tally):
        known = lookup.known(leak.key_hash)
        tally.found += 1
        tally.active += known["state"] == "active"
        finding = {"path": leak.path, "line": leak.line, "api_key_masked": leak.masked, **known}
        if not as_json:
            click.echo(_sentence(finding))
        elif len(listed) < _MOST_LISTED:
            listed.append(finding)
    if as_json:
        print_json(
            {
                "findings": listed,
                "found": tally.found,
                "active": tally.active,
                "files": tally.files,
                "unread": tally.unread,
                "unread_count": tally.unread_count,
                "database": lookup.problem is None if tally.found else None,
            }
        )
    else:
        _print_end(tally, lookup)
    if tally.active:
        raise SystemExit(1)


class _KeyLookup:
    """What this installation knows of keys. The database is opened for the first key that is found."""

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring
        self._runtime: Runtime | None = None
        self._projects: dict[str, str] = {}
        self._known: dict[str, dict[str, Any]] = {}
        self.problem: str | None = None
        """Why no key is known."""

    def known(self, key_hash: str) -> dict[str, Any]:
        """Its state, and whose it is."""
        if key_hash in self._known:
            return self._known[key_hash]
        if len(self._known) >= _MOST_REMEMBERED:
            self._known.clear()
        try:
            self._known[key_hash] = self._read(key_hash) if self.problem is None else _UNKNOWN
        except (SettingsError, LicenzyError) as error:
            self.problem, self._known[key_hash] = str(error), _UNKNOWN
        return self._known[key_hash]

    def _read(self, key_hash: str) -> dict[str, Any]:
        from licenzy.api_keys.queries import key_by_hash
        from licenzy.api_keys.rules import state_of
        from licenzy.projects.queries import project_names

        if self._runtime is None:
            runtime = self._wiring.migrated_runtime()
            with runtime.database.read() as db:
                self._projects = project_names(db)
            self._runtime = runtime
        with self._runtime.database.read() as db:
            key = key_by_hash(db, key_hash)
        if key is None:
            return _UNKNOWN
        return {
            "state": state_of(key, self._runtime.clock()),
            "key_id": key.id,
            "name": key.name,
            "project_id": key.project_id,
            "project": self._projects.get(key.project_id),
        }


def _leaks(paths: tuple[str, ...], include_git: bool, tally: _Tally) -> Iterator[LeakedKey]:
    from licenzy.api_keys.leaks import find_leaks, keys_in

    for path in paths:
        if path == _STDIN:
            yield from keys_in(sys.stdin.buffer, name="standard input")
            tally.note_read()
        else:
            yield from find_leaks(
                Path(path), include_git=include_git, unread=tally.note_unread, read=tally.note_read
            )


def _sentence(finding: dict[str, Any]) -> str:
    place = f"{finding['path']}:{finding['line']}: {finding['api_key_masked']}"
    if finding["state"] == "unknown":
        return f"{place} unknown"
    project = finding["project"] or finding["project_id"]
    return f"{place} {finding['state']}, “{finding['name']}” of {project} ({finding['key_id']})"


def _print_end(tally: _Tally, lookup: _KeyLookup) -> None:
    for path in tally.unread:
        click.echo(f"WARNING: {path} could not be read.", err=True)
    if lookup.problem is not None:
        click.echo(f"NOTE: Every key is shown as unknown: {lookup.problem}", err=True)
    files = "1 file" if tally.files == 1 else f"{tally.files:,} files"
    if not tally.found:
        click.echo(f"No API keys in {files}.")
        return
    keys = "1 API key" if tally.found == 1 else f"{tally.found:,} API keys"
    click.echo(f"{keys} in {files}, of which {tally.active:,} work.")
    if tally.active:
        click.echo(
            "Replace each one that works with `licenzy keys rotate KEY_ID --overlap 0`, then remove it."
        )
