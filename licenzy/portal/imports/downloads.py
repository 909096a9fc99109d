"""Files of an import: templates, its purchases, and what differs from the merchant's own list."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from flask import Response, abort
from flask.typing import ResponseReturnValue
from sqlmodel import Session

from licenzy.imports import actions, queries, reports
from licenzy.imports.compare import Difference
from licenzy.kit.csv_text import as_csv, csv_parts
from licenzy.portal.blueprint import project
from licenzy.portal.exports import export_file
from licenzy.portal.guards import Side, project_page
from licenzy.portal.imports.views import ONE, found_import, to_import
from licenzy.portal.respond import show
from licenzy.runtime import runtime
from licenzy.workspace.models import Role

_MOST_DIFFERENCES = 200
_TEMPLATES = {
    "customers": (
        ("subject_ref", "stripe_subscription_id", "stripe_customer_id", "email", "unit", "used_units"),
        (
            ("user_1", "sub_…", "", "", "", ""),
            ("user_2", "", "cus_…", "", "images", "120"),
            ("user_3", "", "", "buyer@example.com", "", ""),
        ),
    ),
    "access": (("subject_ref", "product_code"), (("user_1", "PRO"), ("user_2", "PRO"), ("user_3", "TEAM"))),
}


@project.get("/imports/templates/<name>.csv")
@project_page(Role.VIEWER)
def import_template(side: Side, name: str) -> ResponseReturnValue:  # noqa: ARG001
    """A CSV to fill in: whose purchases are, or who has access."""
    if name not in _TEMPLATES:
        abort(404)
    headers = {"Content-Disposition": f'attachment; filename="{name}.csv"'}
    return Response(as_csv(*_TEMPLATES[name]), mimetype="text/csv", headers=headers)


@project.post(f"{ONE}/purchases/export")
@project_page(Role.VIEWER)
def export_import_purchases(side: Side, import_id: str) -> ResponseReturnValue:
    """All purchases of an import as a file, which is itself recorded."""
    found_import(side, import_id)

    def lines(db: Session) -> Iterator[Sequence[object]]:
        return reports.purchase_lines(db, side.scope, import_id=import_id)

    return _export(side, import_id, "purchases", reports.PURCHASE_COLUMNS, lines)


@project.get(f"{ONE}/differences")
@project_page(Role.VIEWER)
def import_differences(side: Side, import_id: str) -> ResponseReturnValue:
    """What the import gives otherwise than the merchant's list says."""
    import_, parts = found_import(side, import_id), runtime()
    with parts.database.read() as db:
        file = queries.file_of(db, side.scope, import_id=import_id, kind="compare")
        if file is None:
            return to_import(import_id)
        name = file.name
        found = reports.differences(db, side.scope, import_, now=side.scope.at(parts.clock()))
        first, counts = _first_and_counts(found)
    return show(
        "imports/differences.html",
        job=import_,
        name=name,
        differences=first,
        missing=counts[True],
        surplus=counts[False],
    )


@project.post(f"{ONE}/differences/export")
@project_page(Role.VIEWER)
def export_import_differences(side: Side, import_id: str) -> ResponseReturnValue:
    """The same as a file, which is itself recorded."""
    import_, now = found_import(side, import_id), side.scope.at(runtime().clock())
    with runtime().database.read() as db:
        if queries.file_of(db, side.scope, import_id=import_id, kind="compare") is None:
            abort(404)

    def lines(db: Session) -> Iterator[Sequence[object]]:
        return reports.difference_lines(reports.differences(db, side.scope, import_, now=now))

    return _export(side, import_id, "differences", reports.DIFFERENCE_COLUMNS, lines)


def _export(
    side: Side,
    import_id: str,
    what: str,
    header: Sequence[str],
    lines: Callable[[Session], Iterator[Sequence[object]]],
) -> Response:
    now, actor = runtime().clock(), side.actor
    return export_file(
        f"{import_id}-{what}-{side.mode}.csv",
        "text/csv",
        lambda db: csv_parts(header, lines(db)),
        note=lambda db: actions.record_export(
            db, side.scope, import_id=import_id, what=what, actor=actor, now=now
        ),
    )


def _first_and_counts(found: Iterator[Difference]) -> tuple[list[Difference], dict[bool, int]]:
    first = list(islice(found, _MOST_DIFFERENCES))
    counts = {listed: sum(each.is_listed is listed for each in first) for listed in (True, False)}
    for each in found:
        counts[each.is_listed] += 1
    return first, counts
