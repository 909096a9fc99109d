"""The audit log of a workspace, and its export."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack

from flask import Response, abort, request
from flask.typing import ResponseReturnValue
from sqlmodel import Session

from licenzy.kit import deadline
from licenzy.kit.csv_text import csv_parts
from licenzy.portal.audit.context import Choices, audit_rows
from licenzy.portal.blueprint import workspace
from licenzy.portal.guards import WorkspaceMember, workspace_page
from licenzy.portal.lists import adjacent_pages, requested_place
from licenzy.portal.respond import show
from licenzy.projects.queries import projects_for
from licenzy.runtime import runtime
from licenzy.workspace.audit_export import COLUMNS, FORMATS, csv_lines, json_lines, record_export
from licenzy.workspace.audit_log import SEARCHED, AuditFilter, all_entries, entries_page
from licenzy.workspace.audit_wording import GROUPS, WORDING
from licenzy.workspace.membership_spans import spans_of
from licenzy.workspace.models import Role
from licenzy.workspace.queries import members_of, names_of

_EXPORTS = threading.BoundedSemaphore(2)
"""How many are written at once in a process. One of a long log holds a thread for seconds."""


@workspace.get("/audit")
@workspace_page(Role.ADMIN)
def audit(member: WorkspaceMember) -> ResponseReturnValue:
    """Who did what in the workspace, newest first."""
    place = requested_place("aud")
    with runtime().database.read() as db:
        people, projects = _people(db, member), _projects(db, member)
        choices = Choices.of(request.args, people=people, projects=projects)
        page = entries_page(db, choices.wanted, workspace_id=member.workspace_id, place=place)
        rows = audit_rows(db, page.rows, workspace_id=member.workspace_id, projects=projects)
    return show(
        "audit/page.html",
        member=member,
        rows=rows,
        people=people,
        projects=projects,
        choices=choices,
        groups=GROUPS,
        wording=WORDING,
        most_searched=SEARCHED,
        pages=adjacent_pages(page, place, **choices.query),
    )


@workspace.post("/audit/export")
@workspace_page(Role.ADMIN)
def export_audit(member: WorkspaceMember) -> ResponseReturnValue:
    """The entries of a filter as a file, which is itself recorded."""
    parts, format_ = runtime(), request.form.get("format", "")
    if format_ not in FORMATS:
        abort(404)
    with parts.database.read() as db:
        people, projects = _people(db, member), _projects(db, member)
    wanted = Choices.of(request.form, people=people, projects=projects).wanted
    if not _EXPORTS.acquire(blocking=False):
        abort(429, "Other exports are being written. Wait until they are done, then export again.")
    with ExitStack() as turn:
        turn.callback(_EXPORTS.release)
        with parts.database.write() as db:
            record_export(
                db,
                actor=member.actor,
                workspace_id=member.workspace_id,
                wanted=wanted,
                format_=format_,
                now=parts.clock(),
            )
        turn = turn.pop_all()
    name = f"audit-log-{parts.clock():%Y-%m-%d}.{format_}"
    response = Response(
        _file(member.workspace_id, wanted, format_, turn),
        mimetype="text/csv" if format_ == "csv" else "application/jsonl",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )
    response.call_on_close(turn.close)  # Also of an answer that nobody began to read.
    return response


def _file(workspace_id: str, wanted: AuditFilter, format_: str, turn: ExitStack) -> Iterator[str]:
    """The file as it is read from the database, which ends the turn."""
    database = runtime().database

    def read() -> Iterator[str]:
        with turn, deadline.for_each_wait(), database.read() as db:
            entries = all_entries(db, wanted, workspace_id=workspace_id)
            yield from csv_parts(COLUMNS, csv_lines(db, entries)) if format_ == "csv" else json_lines(entries)

    return read()


def _people(db: Session, member: WorkspaceMember) -> dict[str, str]:
    """The names of the members, then of those who were members, by id."""
    here = {user.id: user.name for user, _membership in members_of(db, workspace_id=member.workspace_id)}
    spans = spans_of(db, workspace_id=member.workspace_id)
    former = names_of(db, user_ids={span.user_id for span in spans} - here.keys())
    by_name = sorted(former.items(), key=lambda each: (each[1].casefold(), each[0]))
    return here | {user_id: f"{name} (former member)" for user_id, name in by_name}


def _projects(db: Session, member: WorkspaceMember) -> dict[str, str]:
    mine = projects_for(db, user_id=member.user.user_id)
    return {
        project.id: project.name for project, _role in mine if project.workspace_id == member.workspace_id
    }
