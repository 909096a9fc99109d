"""`licenzy import`: bring along the customers that a Stripe account has already."""

from __future__ import annotations

import random
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from licenzy.cli.error_handling import LicenzyCommand, json_option, print_json
from licenzy.cli.projects import chosen_project, only_project_option, scope_of, test_mode_option
from licenzy.cli.wiring import Wiring, pass_wiring

if TYPE_CHECKING:
    from licenzy.imports.compare import Difference
    from licenzy.imports.csv_files import CheckedCsv
    from licenzy.imports.models import Import
    from licenzy.imports.progress import Importer
    from licenzy.projects.scope import Scope
    from licenzy.runtime import Runtime

_MOST_SHOWN = 20
_PAUSE_SECONDS = 0.2
_AT_IT = "Another process is at it, or was when it ended two minutes ago at the most. Waiting …"
_MOST_TRIES = 6
"""How often Stripe may refuse in a row before the command gives up; the import can be gone on with."""


@click.command("import", cls=LicenzyCommand)
@only_project_option
@test_mode_option
@click.option("--map", "map_file", help="A CSV that says whose purchases are. See the guide.")
@click.option(
    "--metadata", "keys", multiple=True, help="A metadata key whose value is the subject_ref. Repeatable."
)
@click.option("--ended", is_flag=True, help="Also bring ended subscriptions along, for the memory of trials.")
@click.option(
    "--payments-since", type=click.DateTime(["%Y-%m-%d"]), help="Also bring one-time payments since a day."
)
@click.option("--announce", is_flag=True, help="Send entitlement.updated, with the reason imported.")
@click.option("--accept-email", is_flag=True, help="Accept what an e-mail address alone proposes.")
@click.option(
    "--leave-out", "left_out", multiple=True, help="Leave a purchase (sub_… or cs_…) out. Repeatable."
)
@click.option("--compare", "compare_file", help="A CSV of who has access by your own records.")
@click.option("--dry-run", is_flag=True, help="Show what would be imported, and write nothing.")
@click.option("--restart", is_flag=True, help="Stop the import that is open, and start over.")
@click.option("--confirm", help="In live mode: the name of the project.")
@json_option
@pass_wiring
def import_(
    wiring: Wiring,
    project_id: str | None,
    mode: str,
    map_file: str | None,
    keys: tuple[str, ...],
    ended: bool,
    payments_since: datetime | None,
    announce: bool,
    accept_email: bool,
    left_out: tuple[str, ...],
    compare_file: str | None,
    dry_run: bool,
    restart: bool,
    confirm: str | None,
    as_json: bool,
) -> None:
    """Import the subscriptions and payments that your Stripe account has already.

    Reads the account, matches each purchase with a customer, and writes what is matched. Nothing is written
    at Stripe. A stopped import goes on when the command is given again. Exits with status 1 when something is
    ambiguous, or --compare finds a difference.
    """
    from licenzy.imports.csv_files import checked_csv, read_access, text_of

    runtime = wiring.migrated_runtime()
    scope = scope_of(chosen_project(runtime.database, project_id), mode)
    if not dry_run:
        _check_confirmed(runtime, scope, confirm)
    map_csv = checked_csv("map", Path(map_file).name, _content(map_file)) if map_file is not None else None
    listed = list(read_access(text_of(_content(compare_file)))) if compare_file is not None else None
    session = _Session(runtime, scope, quiet=as_json)
    session.begin(
        keys, map_csv, restart=restart, with_ended=ended, payments_since=payments_since, announced=announce
    )
    if dry_run and session.is_writing:
        raise click.UsageError(
            "An import is being written. Let it end first: give the command without --dry-run."
        )
    session.carry_on()
    session.decide(accept_email=accept_email, left_out=left_out)
    preview = session.counts()
    differences = session.differences(listed) if listed is not None else None
    is_clear = not preview["ambiguous"] or session.is_writing
    results: dict[str, int] | None = None
    if dry_run:
        session.stop()
    elif is_clear and (preview["matched"] or session.is_writing):
        results = session.write()
        differences = session.differences(listed) if listed is not None else None
    report = session.report(preview, results, differences, dry_run=dry_run)
    if as_json:
        print_json(report)
    else:
        _print(report)
    if differences or not is_clear or (results or {}).get("failed"):
        raise SystemExit(1)


class _Session:
    """One run of the command: it carries the import of a side on, beside a worker that may do so too."""

    def __init__(self, runtime: Runtime, scope: Scope, *, quiet: bool) -> None:
        from licenzy.imports.progress import Importer
        from licenzy.workspace.audit import Actor

        self._runtime, self._scope, self._quiet = runtime, scope, quiet
        self._actor = Actor()
        self._importer: Importer = Importer(
            runtime.database, runtime.gateway, runtime.secret_box, runtime.clock, random.random
        )
        self._id = ""
        self._is_own = False
        self._ambiguous: list[dict[str, Any]] = []

    @property
    def is_writing(self) -> bool:
        """Whether it was let write before, by an earlier run of the command."""
        from licenzy.imports.models import ImportStep

        return self._import().step in {ImportStep.RUN, ImportStep.DONE}

    def begin(
        self,
        keys: tuple[str, ...],
        map_csv: CheckedCsv | None,
        *,
        restart: bool,
        with_ended: bool,
        payments_since: datetime | None,
        announced: bool,
    ) -> None:
        """Start an import, or go on with the one that is open."""
        from licenzy.imports import actions, queries

        now, scope = self._runtime.clock(), self._scope
        since = payments_since.replace(tzinfo=UTC) if payments_since is not None else None
        with self._runtime.database.write() as db:
            found = queries.open_import(db, scope)
            if found is not None and restart:
                actions.stop_import(db, scope, import_id=found.id, actor=self._actor, now=now)
                found = None
            if found is None:
                found = actions.start_import(
                    db,
                    scope,
                    actor=self._actor,
                    now=now,
                    metadata_keys=keys,
                    with_ended=with_ended,
                    payments_since=since,
                    announced=announced,
                    map_csv=map_csv,
                )
                self._is_own = True
            else:
                asked = (with_ended, since, announced)
                if asked != (found.with_ended, found.payments_since, found.announced):
                    raise click.UsageError(
                        "An import is open that was started with other options: --ended, --payments-since or "
                        "--announce. Give the same ones to go on, or --restart to start over."
                    )
                self._go_on(db, found, keys, map_csv)
            self._id = found.id

    def _go_on(self, db: Any, found: Import, keys: tuple[str, ...], map_csv: CheckedCsv | None) -> None:
        from licenzy.imports import actions
        from licenzy.imports.models import ImportStep

        if found.step is ImportStep.RUN:
            return
        if map_csv is not None:
            actions.give_file(db, self._scope, import_id=found.id, file=map_csv)
        if keys:
            actions.name_keys(db, self._scope, import_id=found.id, metadata_keys=keys)
        actions.match_again(db, self._scope, import_id=found.id)

    def carry_on(self) -> None:
        """Until it needs a person, or is over. Raises ClickException where Stripe goes on refusing."""
        from licenzy.imports.models import UNDER_WAY
        from licenzy.imports.progress import claim_import, go_on

        shown = ""
        while (found := self._import()).step in UNDER_WAY and found.ended_at is None:
            if found.problem is not None and found.tries >= _MOST_TRIES:
                raise click.ClickException(
                    f"{found.problem} Nothing is lost: give the command again to go on."
                )
            now = self._runtime.clock()
            waits = found.next_try_at is not None and found.next_try_at > now
            claimed = (
                None
                if waits
                else self._runtime.database.retrying(
                    lambda db: claim_import(db, self._scope, import_id=self._id, now=now)  # noqa: B023
                )
            )
            if claimed is None:
                shown = self._say(_AT_IT if not waits else f"{found.problem} Trying again …", shown)
                time.sleep(_PAUSE_SECONDS)
            else:
                shown = self._show(found, shown)
                go_on(self._importer, claimed)

    def _show(self, found: Import, shown: str) -> str:
        from licenzy.imports.wording import STEPS

        said = f"{STEPS[found.step]} {found.seen:,}" if found.seen else STEPS[found.step]
        return self._say(said, shown)

    def _say(self, said: str, shown: str) -> str:
        if not self._quiet and said != shown:
            click.echo(said, err=True)
        return said

    def decide(self, *, accept_email: bool, left_out: tuple[str, ...]) -> None:
        """Say of ambiguous purchases what the options say."""
        from licenzy.imports import actions, reports
        from licenzy.imports.models import ImportOutcome, ImportStep

        if self._import().step is not ImportStep.PREVIEW:
            return
        with self._runtime.database.write() as db:
            if accept_email:
                actions.accept_proposals(db, self._scope, import_id=self._id)
            if left_out:
                actions.leave_out(db, self._scope, import_id=self._id, keys=set(left_out))
        with self._runtime.database.read() as db:
            page = reports.shown_page(db, self._scope, import_id=self._id, shown=ImportOutcome.AMBIGUOUS)
        self._ambiguous = [
            {"key": row.key, "reason": row.reason, "candidates": row.candidates, "email": row.email}
            for row in page.rows[:_MOST_SHOWN]
        ]

    def counts(self) -> dict[str, int]:
        """How many purchases have each outcome."""
        from licenzy.imports.queries import counts_of

        with self._runtime.database.read() as db:
            return counts_of(db, self._scope, import_id=self._id)

    def differences(self, listed: Any) -> list[Difference]:
        """What the import gives otherwise than the merchant's list says."""
        from licenzy.imports.compare import compare

        with self._runtime.database.read() as db:
            there = self._there(db)
            return list(compare(db, self._scope, self._import(), listed, now=there))

    def _there(self, db: Any) -> datetime:
        from licenzy.connections.queries import with_clock

        return with_clock(db, self._scope).at(self._runtime.clock())

    def write(self) -> dict[str, int]:
        """Write what is matched; how many purchases ended with each result."""
        from licenzy.imports.actions import run_import
        from licenzy.imports.models import ImportStep
        from licenzy.imports.queries import results_of

        if self._import().step is ImportStep.PREVIEW:
            with self._runtime.database.write() as db:
                run_import(db, self._scope, import_id=self._id, actor=self._actor, now=self._runtime.clock())
        self.carry_on()
        with self._runtime.database.read() as db:
            return results_of(db, self._scope, import_id=self._id)

    def stop(self) -> None:
        """End the import without writing, unless it was open before."""
        from licenzy.imports.actions import stop_import
        from licenzy.imports.models import ImportStep

        if self._is_own and self._import().step is ImportStep.PREVIEW:
            with self._runtime.database.write() as db:
                stop_import(db, self._scope, import_id=self._id, actor=self._actor, now=self._runtime.clock())

    def report(
        self,
        preview: dict[str, int],
        results: dict[str, int] | None,
        differences: list[Difference] | None,
        *,
        dry_run: bool,
    ) -> dict[str, Any]:
        """What `--json` prints."""
        from licenzy.imports.reports import unmapped_prices

        with self._runtime.database.read() as db:
            unmapped = unmapped_prices(db, self._scope, import_id=self._id)
        return {
            "import_id": self._id,
            "project_id": self._scope.project_id,
            "mode": self._scope.mode.value,
            "dry_run": dry_run,
            "preview": preview,
            "unmapped_prices": [
                {"stripe_price_id": each.stripe_price_id, "purchases": each.purchases} for each in unmapped
            ],
            "ambiguous": self._ambiguous,
            "results": results,
            "differences": None if differences is None else [each._asdict() for each in differences],
        }

    def _import(self) -> Import:
        from licenzy.imports.queries import import_by_id

        with self._runtime.database.read() as db:
            found = import_by_id(db, self._scope, import_id=self._id)
        assert found is not None
        return found


def _check_confirmed(runtime: Runtime, scope: Scope, confirm: str | None) -> None:
    from licenzy.projects.models import Project

    if not scope.mode.livemode:
        return
    with runtime.database.read() as db:
        name = db.get_one(Project, scope.project_id).name
    if confirm != name:
        raise click.UsageError(
            f"In live mode, give --confirm with the name of the project: --confirm {name!r}. "
            "Or give --dry-run, which writes nothing."
        )


def _content(file: str) -> bytes:
    try:
        with Path(file).open("rb") as opened:
            return opened.read(20 * 1024 * 1024 + 1)
    except OSError as error:
        raise click.ClickException(f"{file}: The file cannot be read: {error.strerror}.") from None


def _print(report: dict[str, Any]) -> None:
    from licenzy.imports.wording import OUTCOMES, REASONS, RESULTS

    click.echo(f"Import in {report['mode']} mode of {report['project_id']}:")
    for outcome, count in report["preview"].items():
        if count:
            click.echo(f"  {count:>7,} {OUTCOMES[outcome]}")
    if not any(report["preview"].values()):
        click.echo("  The account has no purchase to import.")
    for each in report["unmapped_prices"][:_MOST_SHOWN]:
        click.echo(f"          {each['stripe_price_id']} is no product’s: {each['purchases']:,} purchases")
    for each in report["ambiguous"]:
        candidates = ", ".join(each["candidates"])
        click.echo(f"          {each['key']}: {REASONS[each['reason']]} {candidates}".rstrip())
    if report["preview"]["ambiguous"] and report["results"] is None:
        click.echo(
            "Nothing was written. Say whose they are in the portal, or give --accept-email or --leave-out."
        )
    for result, count in (report["results"] or {}).items():
        click.echo(f"  {count:>7,} {RESULTS[result]}")
    for each in report["differences"] or ():
        product = f" {each['product_code']}" if each["product_code"] else ""
        said = (
            "your list says yes, the import no" if each["is_listed"] else "the import says yes, your list no"
        )
        click.echo(f"  {each['subject_ref']}{product}: {said}. {each['why']}")
    if report["differences"] == []:
        click.echo("The import gives exactly what your list says.")
    if report["dry_run"]:
        click.echo("Nothing was written.")
