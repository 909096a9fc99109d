"""Mails what blocks live mode, once when it is found and once when it is gone.

A side is checked every EVERY, and only while somebody in its workspace wants to be mailed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import exists, or_, update
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from licenzy.alerts.models import Alert, AlertCheck
from licenzy.alerts.text import AlertMail, cleared_mail, found_mail
from licenzy.alignment.findings import Finding, Severity
from licenzy.alignment.modes import Mode
from licenzy.alignment.rules import RULES, findings
from licenzy.connections.models import Connection
from licenzy.db.reads import read_all, read_first
from licenzy.db.unit_of_work import Database
from licenzy.db.upsert import insert_unless_there
from licenzy.kit.clock import Clock
from licenzy.kit.secret_box import SecretBox
from licenzy.mail.actions import queue_mail
from licenzy.projects.models import Project
from licenzy.projects.scope import Scope
from licenzy.setup.fact_collector import project_facts
from licenzy.workspace.models import Membership, User

EVERY = timedelta(minutes=5)

_TITLES = {rule.code: rule.title for rule in RULES}


@dataclass(frozen=True, slots=True)
class AlertWatch:
    """What it takes to check a side and to mail what is found."""

    database: Database
    secret_box: SecretBox
    base_url: str
    clock: Clock


def check_next(parts: AlertWatch) -> bool:
    """Check the next live side that is due; False when there is none. For the worker."""
    now = parts.clock()
    with parts.database.read() as db:
        project_id = _due(db, mode=Mode.LIVE, now=now)
    if project_id is None:
        return False
    scope = Scope(project_id, Mode.LIVE)
    if not parts.database.retrying(lambda db: _claim(db, scope, now=now)):
        return True  # Another worker was quicker.
    with parts.database.read() as db:
        facts = project_facts(db, parts.secret_box, project_id=project_id, base_url=parts.base_url, now=now)
    blocking = []
    if facts.side(scope.mode).exists:
        blocking = [each for each in findings(facts, scope.mode) if each.severity is Severity.BLOCKS]
    parts.database.retrying(lambda db: _record(db, parts, scope, blocking, now=now))
    return True


@read_first
def _due(*, mode: Mode, now: datetime) -> SelectOfScalar[str]:
    wanted = exists().where(
        col(Membership.workspace_id) == col(Project.workspace_id), col(Membership.alerts_since).is_not(None)
    )
    return (
        select(Project.id)
        .join(Connection, col(Connection.project_id) == col(Project.id))
        .outerjoin(
            AlertCheck,
            (col(AlertCheck.project_id) == col(Project.id)) & (col(AlertCheck.mode) == Connection.mode),
        )
        .where(
            Connection.mode == mode,
            col(Project.archived_at).is_(None),
            col(Project.deleted_at).is_(None),
            wanted,
            or_(col(AlertCheck.next_at).is_(None), col(AlertCheck.next_at) <= now),
        )
        .order_by(col(AlertCheck.next_at), col(Project.id))
        .limit(1)
    )


def _claim(db: Session, scope: Scope, *, now: datetime) -> bool:
    """Whether this check is ours; a worker that dies at it leaves it to the next time."""
    row = {"project_id": scope.project_id, "mode": scope.mode, "next_at": now + EVERY}
    if insert_unless_there(db, AlertCheck, row):
        return True
    claimed = db.execute(
        update(AlertCheck)
        .where(
            col(AlertCheck.project_id) == scope.project_id,
            col(AlertCheck.mode) == scope.mode,
            col(AlertCheck.next_at) <= now,
        )
        .values(next_at=now + EVERY)
        .returning(col(AlertCheck.project_id))
    )
    return claimed.first() is not None


def _record(
    db: Session, parts: AlertWatch, scope: Scope, blocking: Sequence[Finding], *, now: datetime
) -> None:
    """Write down what has come and gone since the last check, and queue the mail about it."""
    known = {(row.code, row.about): row for row in _alerts(db, scope)}
    present = {(each.code, about): each for each in blocking for about in _abouts(each)}
    found: dict[str, Finding] = {}
    for (code, about), finding in present.items():
        row = known.get((code, about))
        if row is not None and row.cleared_at is None:
            continue
        if row is None:
            row = Alert(project_id=scope.project_id, mode=scope.mode, code=code, about=about, first_at=now)
        row.first_at, row.mailed_at, row.cleared_at = now, now, None
        db.add(row)
        found[code] = finding
    gone: dict[str, str] = {}
    for key, row in known.items():
        if row.cleared_at is None and key not in present:
            row.cleared_at = now
            gone[row.code] = _TITLES.get(row.code, row.code)
    still = {code for code, _about in present}
    _mail(db, parts, scope, list(found.values()), [gone[code] for code in gone if code not in still], now)
    db.flush()


def _abouts(finding: Finding) -> list[str]:
    return [f"{each.kind} {each.id}" for each in finding.about] or [""]


@read_all
def _alerts(scope: Scope) -> SelectOfScalar[Alert]:
    return select(Alert).where(Alert.project_id == scope.project_id, Alert.mode == scope.mode)


def _mail(
    db: Session, parts: AlertWatch, scope: Scope, found: list[Finding], gone: list[str], now: datetime
) -> None:
    project = db.get(Project, scope.project_id)
    if project is None or not (found or gone):
        return
    mails: list[AlertMail] = []
    if found:
        mails.append(found_mail(project.name, project.id, found, base_url=parts.base_url))
    if gone:
        mails.append(cleared_mail(project.name, project.id, gone, base_url=parts.base_url))
    for address in _recipients(db, workspace_id=project.workspace_id):
        for mail in mails:
            queue_mail(db, parts.secret_box, to=address, subject=mail.subject, body=mail.body, now=now)


@read_all
def _recipients(*, workspace_id: str) -> SelectOfScalar[str]:
    return (
        select(User.email)
        .join(Membership, col(Membership.user_id) == col(User.id))
        .where(
            Membership.workspace_id == workspace_id,
            col(Membership.alerts_since).is_not(None),
            col(User.disabled_at).is_(None),
        )
        .order_by(User.email)
    )
