"""`licenzy reconcile` and `licenzy replay`: sync with Stripe, and rebuild entitlements from stored facts."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from licenzy.cli.error_handling import LicenzyCommand, json_option, print_json
from licenzy.cli.projects import scope_of
from licenzy.cli.wiring import Wiring, pass_wiring

if TYPE_CHECKING:
    from licenzy.connections.models import Connection
    from licenzy.projects.scope import Scope
    from licenzy.runtime import Runtime


@click.command(cls=LicenzyCommand)
@click.option("--project", "project_id", help="Sync only this project (prj_…). Default: all projects.")
@click.option("--since", help="Start at this time (2026-11-23T09:30:00Z) instead of the last sync.")
@json_option
@pass_wiring
def reconcile(wiring: Wiring, project_id: str | None, since: str | None, as_json: bool) -> None:
    """Sync with each connected Stripe account: apply missed events and repair differences.

    Lists each difference. Exits with status 1 when a sync fails or cannot repair everything.
    """
    from licenzy.errors import LicenzyError
    from licenzy.reconciliation.actions import reconcile as reconcile_account

    runtime = wiring.migrated_runtime()
    reports: list[dict[str, Any]] = []
    for connection in _connected(runtime, project_id):
        try:
            report = reconcile_account(
                runtime.database,
                runtime.gateway,
                runtime.secret_box,
                connection=connection,
                clock=runtime.clock,
                since=_parse_instant(since),
            )
            reports.append({**asdict(report), "error": None})
        except LicenzyError as error:
            reports.append(
                {"connection_id": connection.id, "error": error.message, "problems": [], "failed": 0}
            )
    if as_json:
        print_json({"reports": reports})
    else:
        _print_reports(reports)
    if any(report["error"] or report["problems"] or report["failed"] for report in reports):
        raise SystemExit(1)


@click.command(cls=LicenzyCommand)
@click.option("--event", "event_id", help="Apply this event (evt_…) again.")
@click.option(
    "--connection", "connection_id", help="Apply the event only for this Stripe connection (con_…)."
)
@click.option(
    "--subject", "subject_ref", help="Rebuild this customer's entitlements. Needs --project and --mode."
)
@click.option("--project", "project_id", help="The project of --subject (prj_…).")
@click.option("--mode", type=click.Choice(["test", "live"]), help="The mode of --subject.")
@click.option("--all", "everything", is_flag=True, help="Rebuild all entitlements of the installation.")
@json_option
@pass_wiring
def replay(
    wiring: Wiring,
    event_id: str | None,
    connection_id: str | None,
    subject_ref: str | None,
    project_id: str | None,
    mode: str | None,
    everything: bool,
    as_json: bool,
) -> None:
    """Rebuild entitlements from stored facts, or apply one stored event again.

    Lists each difference. Exits with status 1 when there is one, or when the event cannot be applied.
    """
    runtime = wiring.migrated_runtime()
    if event_id:
        summary, differences, succeeded = _replay_event(runtime, event_id, connection_id)
    elif everything:
        summary, differences, succeeded = _rebuild(runtime)
    elif subject_ref and project_id and mode:
        scope = scope_of(project_id, mode)
        summary, differences, succeeded = _rebuild(runtime, scope, _subject_id(runtime, subject_ref, scope))
    else:
        raise click.UsageError("Give --event, or --subject with --project and --mode, or --all.")
    if as_json:
        print_json({"told": summary, "differences": differences})
    else:
        click.echo(summary)
        _print_differences(differences)
    if not succeeded:
        raise SystemExit(1)


def _replay_event(
    runtime: Runtime, event_id: str, connection_id: str | None
) -> tuple[str, list[dict[str, Any]], bool]:
    """The event applied again, on each connection that received it unless one is named."""
    from licenzy.errors import NotFound
    from licenzy.stripe_events.models import EventStatus
    from licenzy.stripe_events.queries import receivers_of
    from licenzy.stripe_events.replay import replay_event

    with runtime.database.read() as db:
        receivers = receivers_of(db, event_id=event_id, connection_id=connection_id)
    if not receivers:
        raise NotFound("This event does not exist.", hint="Copy its ID from the Stripe events page.")
    rows = [
        replay_event(runtime.database, each, event_id=event_id, clock=runtime.clock) for each in receivers
    ]
    summary = [f"{event_id} is {row.status}" + (f": {row.note}" if row.note else ".") for row in rows]
    succeeded = all(row.status is not EventStatus.FAILED for row in rows)
    return "\n".join(summary), [change for row in rows for change in row.changes], succeeded


def _rebuild(
    runtime: Runtime, scope: Scope | None = None, subject_id: str | None = None
) -> tuple[str, list[dict[str, Any]], bool]:
    from licenzy.stripe_events.replay import replay_purchases

    rebuilt = list(
        replay_purchases(runtime.database, clock=runtime.clock, scope=scope, subject_id=subject_id)
    )
    differences = [change for _key, changes in rebuilt for change in changes]
    summary = f"Rebuilt {_count(len(rebuilt), 'purchase')}, found {_count(len(differences), 'difference')}."
    return summary, differences, not differences


def _connected(runtime: Runtime, project_id: str | None) -> list[Connection]:
    from licenzy.connections.queries import connected

    with runtime.database.read() as db:
        return connected(db, project_id=project_id)


def _subject_id(runtime: Runtime, subject_ref: str, scope: Scope) -> str:
    from licenzy.errors import NotFound
    from licenzy.subjects.queries import subject_by_ref

    with runtime.database.read() as db:
        subject = subject_by_ref(db, scope, subject_ref=subject_ref)
    if subject is None:
        raise NotFound(
            "This customer does not exist in this project and mode.",
            hint="Compare --subject with the Customers page.",
        )
    return subject.id


def _parse_instant(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise click.UsageError("--since must be a time such as 2026-11-23T09:30:00Z.") from None
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def _print_reports(reports: list[dict[str, Any]]) -> None:
    if not reports:
        click.echo("There is nothing to sync, because no Stripe key is saved.")
    for report in reports:
        if report["error"]:
            click.echo(f"{report['connection_id']}: the sync failed. {report['error']}")
            continue
        click.echo(
            f"{report['connection_id']}: {_count(report['events_missed'], 'missed event')}, "
            f"{_count(report['differences_found'], 'repaired difference')}. "
            f"Checked {_count(report['events_seen'], 'event')}, "
            f"{_count(report['subscriptions_seen'], 'subscription')}, "
            f"{_count(report['sessions_seen'], 'open session')}, {_count(report['refunds_seen'], 'refund')} "
            f"and {_count(report['disputes_seen'], 'dispute')}."
        )
        _print_differences(report["differences"])
        left_out = report["differences_found"] - len(report["differences"])
        if left_out:
            click.echo(f"  {_count(left_out, 'more difference')}.")
        if report["failed"]:
            click.echo(f"  Not applied: {_count(report['failed'], 'event')}. See the Stripe events page.")
        for each in report["problems"]:
            click.echo(f"  {each['object']}: not compared. {each['problem']}")
        left_out = report["problems_found"] - len(report["problems"])
        if left_out:
            click.echo(f"  {_count(left_out, 'more object')}: not compared.")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _print_differences(differences: list[dict[str, Any]]) -> None:
    for change in differences:
        before, after = change["before"] or {}, change["after"]
        values = [
            f"{name} {before.get(name)} → {after[name]}" for name in after if before.get(name) != after[name]
        ]
        click.echo(f"  {change['entitlement']}: {', '.join(values)}")
