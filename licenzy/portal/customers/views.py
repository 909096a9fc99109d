"""The merchant's customers: who they are, what they own, and what the access check returns."""

from __future__ import annotations

from flask import request
from flask.typing import ResponseReturnValue

from licenzy.portal.blueprint import project
from licenzy.portal.customers.customer_page import customer_page, holders_of
from licenzy.portal.guards import Side, project_page
from licenzy.portal.lists import adjacent_pages, requested_place
from licenzy.portal.respond import go, show
from licenzy.portal.search.views import page_of_id
from licenzy.runtime import runtime
from licenzy.subjects.queries import subjects_page
from licenzy.subjects.rules import ref_problem
from licenzy.workspace.models import Role


@project.get("/customers")
@project_page(Role.VIEWER)
def customers(side: Side) -> ResponseReturnValue:
    """Everybody who opened a checkout on this side; searched by a part of the ref or address, or by an id."""
    search = request.args.get("search", "").strip()
    place = requested_place("sbj")
    problem = ref_problem(search) if search else None
    with runtime().database.read() as db:
        if search and not problem and (record := page_of_id(db, side, search)) is not None:
            return go(record)
        now = side.scope.now(runtime().clock)
        page = subjects_page(db, side.scope, search="" if problem else search, place=place)
        found = [] if problem else list(page.rows)
        holders = holders_of(db, side, found, now)
    return show(
        "customers/list.html",
        holders=holders,
        search=search.replace("\0", ""),
        problem=problem,
        pages=adjacent_pages(page, place, search=search or None),
    )


@project.get("/customers/<id('sbj'):subject_id>")
@project_page(Role.VIEWER)
def customer(side: Side, subject_id: str) -> ResponseReturnValue:
    """One customer: whether they have access and why, what they own, what they tried to buy."""
    return customer_page(side, subject_id, whole=request.args.get("all") == "1")
