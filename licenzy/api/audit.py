"""Reading the audit log of the key's project and mode."""

from __future__ import annotations

import re

from flask import request as flask_request

from licenzy.api.query import given_once, requested_limit
from licenzy.api.reply import Reply
from licenzy.api.request import ApiRequest
from licenzy.db.paging import NEWEST, Place
from licenzy.errors import InvalidRequest
from licenzy.projects.models import Project
from licenzy.workspace.audit_export import as_json
from licenzy.workspace.audit_log import AuditFilter, entries_page, entry_of

_CURSOR = re.compile(r"aud_[0-9a-z]{26}", re.ASCII)


def audit(request: ApiRequest, **_path: str) -> Reply:
    """`GET /v1/audit`: what was done in the project and mode, newest first, in pages."""
    caller = request.authenticate()
    given_once("limit", "cursor")
    limit, cursor = requested_limit(), flask_request.args.get("cursor")
    if cursor is not None and not _CURSOR.fullmatch(cursor):
        raise _wrong_cursor()
    wanted = AuditFilter(project_id=caller.project_id, mode=caller.mode)
    with request.runtime.database.read() as db:
        of, place = db.get_one(Project, caller.project_id).workspace_id, NEWEST
        if cursor is not None:
            last = entry_of(db, workspace_id=of, entry_id=cursor)
            if last is None or (last.project_id, last.mode) != (caller.project_id, caller.mode):
                raise _wrong_cursor()
            place = Place(older_than=cursor)
        page = entries_page(db, wanted, workspace_id=of, place=place, size=limit)
    return request.answer(
        {
            "entries": [as_json(each) for each in page.rows],
            "has_more": page.older is not None,
            "next_cursor": page.older.older_than if page.older is not None else None,
        }
    )


def _wrong_cursor() -> InvalidRequest:
    return InvalidRequest(fields={"cursor": "must be the next_cursor of an earlier answer"})
