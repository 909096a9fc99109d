"""The audit log of a workspace, and its export."""

from __future__ import annotations

from collections.abc import Iterator

from flask import abort, request
from flask.typing import ResponseReturnValue
from sqlmodel import Session

from licenzy.kit.csv_text import csv_parts
from licenzy.portal.audit.context import Choices, audit_rows
from licenzy.portal.blueprint import workspace
from licenzy.portal.exports import export_file
from licenzy.portal.guards import WorkspaceMember, workspace_page
from licenzy.portal.lists import adjacent_pages, requested_place
from licenzy.portal.respond import show
from licenzy.projects.queries import projects_for
from licenzy.runtime import runtime
from licenzy.workspace.audit_export import COLUMNS, FORMATS, csv_lines, json_lines, record_export
from licenzy.workspace.audit_log import SEARCHED, all_entries, entries_page
from licenzy.workspace.audit_wording import GROUPS, WORDING
from licenzy.workspace.membership_spans import spans_of
from licenzy.workspace.models import Role
from licenzy.workspace.queries import members_of, names_of


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

    def file(db: Session) -> Iterator[str]:
        entries = all_entries(db, wanted, workspace_id=member.workspace_id)
        return csv_parts(COLUMNS, csv_lines(db, entries)) if format_ == "csv" else json_lines(entries)

    return export_file(
        f"audit-log-{parts.clock():%Y-%m-%d}.{format_}",
        "text/csv" if format_ == "csv" else "application/jsonl",
        file,
        note=lambda db: record_export(
            db,
            actor=member.actor,
            workspace_id=member.workspace_id,
            wanted=wanted,
            format_=format_,
            now=parts.clock(),
        ),
    )


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
