"""`licenzy reconcile` and `licenzy replay`: heal what was missed, and prove what is stored."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from licenzy.cli.keys import scope_of
from licenzy.cli.plain import PlainCommand, as_json, json_option
from licenzy.cli.wiring import Wiring, pass_wiring

if TYPE_CHECKING:
    from licenzy.connections.models import Connection
    from licenzy.projects.scope import Scope
    from licenzy.runtime import Runtime


@click.command(cls=PlainCommand)
@click.option("--project", "project_id", help="Only this project (prj_…); all of them without it.")
@click.option("--since", help="Walk from this instant (2026-11-23T09:30:00Z), not from the last walk.")
@json_option
@pass_wiring
def reconcile(wiring: Wiring, project_id: str | None, since: str | None, json_wanted: bool) -> None:
    """Walk each connected account at Stripe, heal what was missed and name each difference.

    Leaves with 1 when a walk failed or could not heal everything.
    """
    from licenzy.errors import LicenzyError
    from licenzy.reconciliation.actions import reconcile as walk

    runtime = wiring.migrated_runtime()
    reports: list[dict[str, Any]] = []
    for connection in _connected(runtime, project_id):
        try:
            report = walk(
                runtime.database,
                runtime.gateway,
                runtime.secret_box,
                connection=connection,
                clock=runtime.clock,
                since=_instant(since),
            )
            reports.append({**asdict(report), "error": None})
        except LicenzyError as error:
            reports.append(
                {"connection_id": connection.id, "error": error.message, "problems": [], "failed": 0}
            )
    if json_wanted:
        as_json({"reports": reports})
    else:
        _tell(reports)
    if any(report["error"] or report["problems"] or report["failed"] for report in reports):
        raise SystemExit(1)


@click.command(cls=PlainCommand)
@click.option("--event", "event_id", help="Apply this event (evt_…) again.")
@click.option(
    "--connection", "connection_id", help="Of the connections that received the event, only this (con_…)."
)
@click.option("--subject", "subject_ref", help="Rebuild what this subject holds; needs --project and --mode.")
@click.option("--project", "project_id")
@click.option("--mode", type=click.Choice(["test", "live"]))
@click.option("--all", "everything", is_flag=True, help="Rebuild every entitlement of the installation.")
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
    json_wanted: bool,
) -> None:
    """Rebuild entitlements from their facts and report any difference, or apply one kept event again.

    Leaves with 1 when there was a difference, or when the event cannot be applied.
    """
    runtime = wiring.migrated_runtime()
    if event_id:
        told, differences, good = _event_again(runtime, event_id, connection_id)
    elif everything:
        told, differences, good = _rebuilt(runtime)
    elif subject_ref and project_id and mode:
        scope = scope_of(project_id, mode)
        told, differences, good = _rebuilt(runtime, scope, _subject_id(runtime, subject_ref, scope))
    else:
        raise click.UsageError("Name --event, or --subject, --project and --mode, or --all.")
    if json_wanted:
        as_json({"told": told, "differences": differences})
    else:
        click.echo(told)
        _tell_differences(differences)
    if not good:
        raise SystemExit(1)


def _event_again(
    runtime: Runtime, event_id: str, connection_id: str | None
) -> tuple[str, list[dict[str, Any]], bool]:
    """The event applied again, on each connection that received it unless one is named."""
    from licenzy.errors import NotFound
    from licenzy.stripe_events.models import EventStatus
    from licenzy.stripe_events.queries import receivers_of
    from licenzy.stripe_events.replay import replay_event

    with runtime.database.read() as db:
        receivers = [connection_id] if connection_id else receivers_of(db, event_id=event_id)
    if not receivers:
        raise NotFound("There is no such event to replay.", hint="Compare the id on the Events page.")
    rows = [
        replay_event(runtime.database, connection_id=each, event_id=event_id, clock=runtime.clock)
        for each in receivers
    ]
    told = [f"{event_id} is {row.status}" + (f": {row.note}" if row.note else ".") for row in rows]
    good = all(row.status is not EventStatus.FAILED for row in rows)
    return "\n".join(told), [change for row in rows for change in row.changes], good


def _rebuilt(
    runtime: Runtime, scope: Scope | None = None, subject_id: str | None = None
) -> tuple[str, list[dict[str, Any]], bool]:
    from licenzy.stripe_events.replay import replay_purchases

    walked = list(replay_purchases(runtime.database, clock=runtime.clock, scope=scope, subject_id=subject_id))
    differences = [change for _key, changes in walked for change in changes]
    return f"Rebuilt {len(walked)} purchases: {len(differences)} differences.", differences, not differences


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
        raise NotFound("No such subject is known in this project and mode.")
    return subject.id


def _instant(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise click.UsageError("--since must be an instant such as 2026-11-23T09:30:00Z.") from None
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def _tell(reports: list[dict[str, Any]]) -> None:
    if not reports:
        click.echo("No Stripe key is stored yet, so there is nothing to walk.")
    for report in reports:
        if report["error"]:
            click.echo(f"{report['connection_id']}: failed. {report['error']}")
            continue
        click.echo(
            f"{report['connection_id']}: {report['events_seen']} events, {report['subscriptions_seen']} "
            f"subscriptions, {report['sessions_seen']} open sessions, {report['refunds_seen']} refunds and "
            f"{report['disputes_seen']} disputes looked at; {report['events_missed']} events had been "
            f"missed, {len(report['differences'])} differences healed."
        )
        _tell_differences(report["differences"])
        if report["failed"]:
            click.echo(f"  {report['failed']} events could not be applied; see the Events page.")
        for each in report["problems"]:
            click.echo(f"  {each['object']}: not compared. {each['problem']}")


def _tell_differences(differences: list[dict[str, Any]]) -> None:
    for change in differences:
        before, after = change["before"] or {}, change["after"]
        words = [
            f"{name} {before.get(name)} → {after[name]}" for name in after if before.get(name) != after[name]
        ]
        click.echo(f"  {change['entitlement']}: {', '.join(words)}")
