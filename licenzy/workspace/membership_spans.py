"""When somebody was a member of a workspace, as its audit log and its memberships tell it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session, col, select

from licenzy.workspace.models import AuditEntry, Membership, User, Workspace

_JOINED_BY_THEMSELVES = frozenset({"workspace.created", "invitation.accepted"})
_JOINED = frozenset({"installation.claimed", "member.added", *_JOINED_BY_THEMSELVES})
_ENDED = frozenset({"member.removed", "member.left"})


@dataclass(frozen=True, slots=True)
class MembershipSpan:
    """From when until when somebody was a member; the end itself is no part of it."""

    user_id: str
    since: datetime
    until: datetime | None = None
    """None for a present member."""


@dataclass(frozen=True, slots=True)
class _MemberChange:
    """Somebody joined the workspace, or was its member until then."""

    user_id: str
    at: datetime
    joined: bool


def spans_of(db: Session, *, workspace_id: str) -> list[MembershipSpan]:
    """All memberships of a workspace that are told of, present and past; those of one person never overlap.

    Somebody whose end is told of and whose beginning is not, from before that was recorded, was a member
    since both the account and the workspace existed.
    """
    changes: dict[str, list[_MemberChange]] = {}
    for change in _changes(db, workspace_id):
        changes.setdefault(change.user_id, []).append(change)
    members = select(Membership.user_id, Membership.created_at).where(Membership.workspace_id == workspace_id)
    present = dict(db.exec(members).all())
    unknown = [user_id for user_id, theirs in changes.items() if not theirs[0].joined]
    earliest = _earliest(db, workspace_id, unknown) if unknown else {}
    spans: list[MembershipSpan] = []
    for user_id in {**changes, **present}:
        past = past_spans(user_id, changes.get(user_id, ()), earliest=earliest.get(user_id))
        spans += past
        if user_id in present:
            ends = [span.until for span in past if span.until is not None]
            spans.append(MembershipSpan(user_id, max([present[user_id], *ends])))
    return spans


def past_spans(
    user_id: str, changes: Iterable[_MemberChange], *, earliest: datetime | None
) -> list[MembershipSpan]:
    """The memberships of one person that have ended, from what is told of them in the order of time.

    `earliest` is since when they may have been a member before anything is told of.
    """
    spans: list[MembershipSpan] = []
    since = earliest
    for change in changes:
        if change.joined:
            since = change.at if since is None else since
        elif since is not None:
            spans.append(MembershipSpan(user_id, since, change.at))
            since = None
    return spans


def _changes(db: Session, workspace_id: str) -> list[_MemberChange]:
    """What the log tells of who joined and who left, in the order of time."""
    found = db.exec(
        select(AuditEntry.action, AuditEntry.actor_user_id, AuditEntry.about, AuditEntry.at)
        .where(AuditEntry.workspace_id == workspace_id, col(AuditEntry.action).in_(_JOINED | _ENDED))
        .order_by(col(AuditEntry.at), col(AuditEntry.id))
    )
    return [
        _MemberChange((actor or "") if action in _JOINED_BY_THEMSELVES else about, at, action in _JOINED)
        for action, actor, about, at in found
    ]


def _earliest(db: Session, workspace_id: str, user_ids: list[str]) -> dict[str, datetime]:
    made = db.get_one(Workspace, workspace_id).created_at
    found = db.exec(select(User.id, User.created_at).where(col(User.id).in_(user_ids)))
    return {user_id: max(created_at, made) for user_id, created_at in found}
