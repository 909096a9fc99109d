"""Reads of the audit log: the entries of one workspace, newest first, narrowed and in pages.

Each page is read from several ranges, each in the order of one index and none longer than the page: the
entries of the workspace, and those of its people that belong to no workspace, such as signing in, from the
time in which they were its members. So a page takes as many rows as it shows and not as many as there are,
unless words are searched for: then no more than `SEARCHED` rows of each range.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, column, or_, table, true, union_all
from sqlalchemy import Select as SqlSelect
from sqlalchemy import select as sql_select
from sqlalchemy.orm import Mapped
from sqlmodel import Session, col, select

from licenzy.alignment.modes import Mode
from licenzy.db.paging import NEWEST, PAGE_SIZE, Page, Place
from licenzy.workspace.membership_spans import MembershipSpan, spans_of
from licenzy.workspace.models import AuditEntry, Installation, User

COMMAND_LINE, STRANGER = "command_line", "stranger"
"""Whom `AuditFilter.person` may name besides people."""
SEARCHED = 50_000
"""How many entries of one range are searched for words, at most."""

_RANGES_AT_ONCE = 100
_EXPORTED_AT_ONCE = 1000
_PROJECTS = table("projects", column("id"), column("workspace_id"))
"""Named and not imported: projects build upon workspaces."""


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which entries are wanted; what is None or empty narrows nothing."""

    person: str | None = None
    """The id of somebody, COMMAND_LINE or STRANGER."""
    actions: tuple[str, ...] = ()
    project_id: str | None = None
    mode: Mode | None = None
    since: datetime | None = None
    until: datetime | None = None
    """Entries of this instant are left out."""
    words: str = ""
    """A part of what it was done to, or of the action."""


def entries_page(
    db: Session,
    wanted: AuditFilter,
    *,
    workspace_id: str,
    place: Place = NEWEST,
    size: int = PAGE_SIZE,
) -> Page[AuditEntry]:
    """Some entries of a workspace. A place that names no entry of the workspace is the newest."""
    ranges = _ranges(db, wanted, workspace_id)
    upwards, edge_conditions = _edge(db, place, workspace_id)
    found = _nearest(db, ranges, edge_conditions, wanted, upwards=upwards, most=size + 1)
    ids, more = found[:size], len(found) > size
    by_id = {entry.id: entry for entry in db.exec(select(AuditEntry).where(col(AuditEntry.id).in_(ids)))}
    rows = [by_id[each] for each in ids]
    if upwards:
        rows.reverse()
    newer = bool(rows) and (more if upwards else bool(edge_conditions))
    older = bool(rows) and (upwards or more)
    return Page(
        rows,
        newer=Place(newer_than=rows[0].id) if newer else None,
        older=Place(older_than=rows[-1].id) if older else None,
    )


def all_entries(db: Session, wanted: AuditFilter, *, workspace_id: str) -> Iterator[AuditEntry]:
    """All of them, newest first, with a thousand in memory."""
    place: Place | None = NEWEST
    while place is not None:
        page = entries_page(db, wanted, workspace_id=workspace_id, place=place, size=_EXPORTED_AT_ONCE)
        yield from page.rows
        place = page.older
        db.expunge_all()


def entry_of(db: Session, *, workspace_id: str, entry_id: str) -> AuditEntry | None:
    """The entry with this id, unless it is another workspace's."""
    return db.exec(select(AuditEntry).where(AuditEntry.id == entry_id, _not_of_another(workspace_id))).first()


@dataclass(frozen=True, slots=True)
class _Range:
    """Entries that one index has in the order of their time."""

    condition: ColumnElement[bool]
    leading: tuple[Mapped[Any], ...] = ()
    """Columns that are NULL in all of it: they are sorted by first, or Postgres sorts what is in order."""
    until: datetime | None = None
    """It has no entry of this instant or later; None where it may have."""
    by_action: bool = True
    """Whether an index has each action in order. Else there are few entries, which are read together."""


def _ranges(db: Session, wanted: AuditFilter, workspace_id: str) -> list[_Range]:
    """Ranges that have all entries between them and none twice, narrowed except by words."""
    if wanted.project_id is not None and _is_ours(db, wanted.project_id, workspace_id):
        ranges = _of_project(wanted, wanted.project_id)
    else:
        nobody = wanted.person in {COMMAND_LINE, STRANGER}
        leading = (col(AuditEntry.actor_user_id),) if nobody and not wanted.actions else ()
        ranges = [_Range(col(AuditEntry.workspace_id) == workspace_id, leading)]
        if wanted.project_id is None and wanted.mode is None:
            ranges += _of_people(db, wanted, workspace_id)
        ranges.append(_Range(_of_an_older_version(workspace_id)))
        if wanted.project_id is not None:
            gone = col(AuditEntry.project_id) == wanted.project_id
            ranges = [replace(each, condition=and_(each.condition, gone)) for each in ranges]
    narrowing, action = _narrowing(wanted), col(AuditEntry.action)
    one_by_one = [action == each for each in wanted.actions] or [true()]
    together = [action.in_(wanted.actions)] if wanted.actions else [true()]
    return [
        replace(each, condition=and_(each.condition, act, *narrowing))
        for each in ranges
        for act in (one_by_one if each.by_action else together)
    ]


def _narrowing(wanted: AuditFilter) -> list[ColumnElement[bool]]:
    actor, address, at = col(AuditEntry.actor_user_id), col(AuditEntry.ip), col(AuditEntry.at)
    narrowing: list[ColumnElement[bool]] = []
    if wanted.person == COMMAND_LINE:
        narrowing += [actor.is_(None), address.is_(None)]
    elif wanted.person == STRANGER:
        narrowing += [actor.is_(None), address.is_not(None)]
    elif wanted.person is not None:
        narrowing += [actor == wanted.person]
    if wanted.mode is not None:
        narrowing += [col(AuditEntry.mode) == wanted.mode]
    if wanted.since is not None:
        narrowing += [at >= wanted.since]
    if wanted.until is not None:
        narrowing += [at < wanted.until]
    return narrowing


def _is_ours(db: Session, project_id: str, workspace_id: str) -> bool:
    """Whether the workspace has the project; of one that is gone the entries alone know whose it was."""
    found = sql_select(_PROJECTS.c.workspace_id).where(_PROJECTS.c.id == project_id)
    return db.scalar(found) == workspace_id


def _of_project(wanted: AuditFilter, project_id: str) -> list[_Range]:
    """A range for each mode and for what concerns none: as the index has them in order."""
    here, mode = col(AuditEntry.project_id) == project_id, col(AuditEntry.mode)
    if wanted.mode is not None:
        return [_Range(here)]
    both = [_Range(and_(here, mode == each)) for each in Mode]
    return [*both, _Range(and_(here, mode.is_(None)), (mode,))]


def _of_an_older_version(workspace_id: str) -> ColumnElement[bool]:
    """Written while the schema was upgraded, by code that did not note the workspace yet.

    There are few of these, in an index of their own; SQLite is kept from that of the project, which has all.
    """
    ours = sql_select(_PROJECTS.c.id).where(_PROJECTS.c.workspace_id == workspace_id)
    return and_(
        col(AuditEntry.workspace_id).is_(None),
        col(AuditEntry.project_id).is_not(None),
        col(AuditEntry.project_id).op("||")("").in_(ours),
    )


def _of_people(db: Session, wanted: AuditFilter, workspace_id: str) -> list[_Range]:
    """What people did outside of all workspaces while they were members, and what was done to them there.

    That was done by the command line or a link: what a person does to another is done in a workspace. Tries
    to sign in with an address that nobody has belong to the first workspace, whose operator runs the
    installation.
    """
    actor, about = col(AuditEntry.actor_user_id), col(AuditEntry.about)
    nowhere = and_(col(AuditEntry.workspace_id).is_(None), col(AuditEntry.project_id).is_(None))
    nobody = wanted.person in {COMMAND_LINE, STRANGER}
    ranges: list[_Range] = []
    for span in spans_of(db, workspace_id=workspace_id):
        if wanted.since is not None and span.until is not None and span.until <= wanted.since:
            continue
        then = and_(nowhere, *_within(span))
        if wanted.person in {None, span.user_id}:
            ranges.append(_Range(and_(then, actor == span.user_id), until=span.until))
        if wanted.person is None or nobody:
            done_to = and_(then, actor.is_(None), about == span.user_id)
            ranges.append(_Range(done_to, until=span.until, by_action=False))
    if db.exec(select(Installation).where(Installation.workspace_id == workspace_id)).first() is not None:
        people = sql_select(col(User.id))
        ranges.append(_Range(and_(nowhere, actor.is_(None), about.not_in(people)), (actor,)))
    return ranges


def _within(span: MembershipSpan) -> list[ColumnElement[bool]]:
    at = col(AuditEntry.at)
    return [at >= span.since] if span.until is None else [at >= span.since, at < span.until]


def _edge(db: Session, place: Place, workspace_id: str) -> tuple[bool, list[ColumnElement[bool]]]:
    """Whether the page is above its place, and what is true of all entries there."""
    at, entry_id = col(AuditEntry.at), col(AuditEntry.id)
    if place.newer_than is not None:
        edge = _at(db, workspace_id, place.newer_than)
        if edge is not None:
            return True, [at >= edge, or_(at > edge, entry_id > place.newer_than)]
    if place.older_than is not None:
        edge = _at(db, workspace_id, place.older_than)
        if edge is not None:
            return False, [at <= edge, or_(at < edge, entry_id < place.older_than)]
    return False, []


def _at(db: Session, workspace_id: str, entry_id: str) -> datetime | None:
    """When an entry was made, unless it is another workspace's."""
    mine = (AuditEntry.id == entry_id, _not_of_another(workspace_id))
    return db.exec(select(AuditEntry.at).where(*mine)).first()


def _not_of_another(workspace_id: str) -> ColumnElement[bool]:
    """Older versions noted no workspace, and what people do outside of all has none."""
    of = col(AuditEntry.workspace_id)
    return or_(of == workspace_id, of.is_(None))


def _nearest(
    db: Session,
    ranges: Sequence[_Range],
    edge_conditions: Sequence[ColumnElement[bool]],
    wanted: AuditFilter,
    *,
    upwards: bool,
    most: int,
) -> list[str]:
    """The ids of the entries of all ranges that are nearest to their edge, in that order.

    Ranges that ended before the last of what the others have are not read: those of people who left long ago.
    """
    found: list[tuple[datetime, str]] = []

    def read(some: Sequence[_Range]) -> None:
        parts = [_first_of(each, edge_conditions, wanted.words, upwards=upwards, most=most) for each in some]
        for start in range(0, len(parts), _RANGES_AT_ONCE):
            rows = union_all(*parts[start : start + _RANGES_AT_ONCE])
            found.extend((at, entry_id) for entry_id, at in db.execute(rows))

    read([each for each in ranges if each.until is None])
    nearest = sorted(found, reverse=not upwards)[:most]
    last = nearest[-1][0] if len(nearest) == most and not upwards else None
    read([each for each in ranges if each.until is not None and (last is None or each.until > last)])
    return [entry_id for _at, entry_id in sorted(found, reverse=not upwards)[:most]]


def _first_of(
    of: _Range, edge_conditions: Sequence[ColumnElement[bool]], words: str, *, upwards: bool, most: int
) -> SqlSelect[Any]:
    columns: list[Any] = [AuditEntry.id, AuditEntry.at, AuditEntry.about, AuditEntry.action]
    rows = (
        sql_select(*columns)
        .where(of.condition, *edge_conditions)
        .order_by(*_order([*of.leading, col(AuditEntry.at), col(AuditEntry.id)], upwards))
        .limit(SEARCHED if words else most)
        .subquery()
    )
    if not words:
        return sql_select(rows.c.id, rows.c.at)
    has_words = or_(*(each.icontains(words, autoescape=True) for each in (rows.c.about, rows.c.action)))
    matching = sql_select(rows.c.id, rows.c.at).where(has_words)
    first = matching.order_by(*_order([rows.c.at, rows.c.id], upwards)).limit(most).subquery()
    return sql_select(first.c.id, first.c.at)


def _order(columns: Sequence[Any], upwards: bool) -> list[ColumnElement[Any]]:
    return [each.asc() if upwards else each.desc() for each in columns]
