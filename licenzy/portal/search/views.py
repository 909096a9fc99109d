"""The search of a project's pages: an id leads to its record, anything else to what was found, by group."""

from __future__ import annotations

from typing import Any

from flask import request, url_for
from flask.typing import ResponseReturnValue
from sqlmodel import Session

from licenzy.alignment.modes import Credential, Mode, classify
from licenzy.portal.blueprint import project
from licenzy.portal.guards import Side, project_page
from licenzy.portal.navigation import Entry, lab_offered, navigation
from licenzy.portal.respond import go, show
from licenzy.runtime import runtime
from licenzy.search.by_id import is_id
from licenzy.search.hits import Hit, HitGroup, Results
from licenzy.search.queries import find_exactly, search
from licenzy.subjects.rules import folded, ref_problem
from licenzy.workspace.models import Role

_PAGES = {
    HitGroup.CUSTOMERS: ("portal.project.customer", "subject_id"),
    HitGroup.ATTEMPTS: ("portal.project.customer", "subject_id"),
    HitGroup.STRIPE_EVENTS: ("portal.project.event", "event_id"),
    HitGroup.EVENTS_ABOUT: ("portal.project.events", "about"),
    HitGroup.UNTRACKED: ("portal.project.untracked_checkout", "untracked_id"),
    HitGroup.PRODUCTS: ("portal.project.edit_product", "product_id"),
    HitGroup.ENDPOINTS: ("portal.project.webhook", "endpoint_id"),
    HitGroup.DELIVERIES: ("portal.project.delivery", "delivery_id"),
    HitGroup.API_KEYS: ("portal.project.api_key", "key_id"),
    HitGroup.REFUSALS: ("portal.project.api_key", "key_id"),
}
"""The page that shows a hit of each group, and the part of its address that names the hit."""

_SECRETS = {
    Credential.SECRET_KEY,
    Credential.RESTRICTED_KEY,
    Credential.ORGANIZATION_KEY,
    Credential.WEBHOOK_SECRET,
    Credential.LICENZY_KEY,
}


@project.get("/search", endpoint="search")
@project_page(Role.VIEWER)
def search_page(side: Side) -> ResponseReturnValue:
    """What `?q=` finds; an id of a single record leads straight to its page."""
    text = request.args.get("q", "").strip()
    if _is_secret(text):
        return _answer("", problem="is a secret. Search for an id, and keep secrets out of addresses")
    problem = ref_problem(text) if text else None
    if not text or problem:
        return _answer(text, problem=problem)
    with runtime().database.read() as db:
        addresses = _addresses_of_id(db, side, text)
        if len(addresses) == 1:
            return go(addresses.pop())
        results = search(db, side.scope, text=text)
    return _answer(text, results=results, pages=_pages_named(text))


def page_of_id(db: Session, side: Side, text: str) -> str | None:
    """Where a list sends who searches it for an id: to the record, or to what says that it is elsewhere.

    None for other words, and for an id of nothing in this project: the list itself is searched for them.
    """
    addresses = _addresses_of_id(db, side, text)
    if len(addresses) == 1:
        return addresses.pop()
    if addresses or (is_id(text) and find_exactly(db, side.scope.other, text=text)):
        return url_for("portal.project.search", q=text)
    return None


def address_of(hit: Hit, *, mode: Mode | None = None) -> str:
    """The address of the page that shows the hit, in this page's mode unless another one is given."""
    endpoint, name = _PAGES[hit.group]
    values: dict[str, Any] = {name: hit.id} if mode is None else {name: hit.id, "mode": mode}
    if hit.group is HitGroup.REFUSALS:
        values["q"] = hit.title  # The page of a key shows many refused calls.
    return url_for(endpoint, **values)


def _addresses_of_id(db: Session, side: Side, text: str) -> set[str]:
    hits = find_exactly(db, side.scope, text=text) if is_id(text) else []
    return {address_of(hit) for hit in hits}


def _answer(
    text: str,
    *,
    problem: str | None = None,
    results: Results | None = None,
    pages: list[Entry] | None = None,
) -> ResponseReturnValue:
    return show(
        "search/page.html",
        text=text.replace("\0", ""),  # HTML cannot contain it.
        problem=problem,
        results=results or Results(),
        pages=pages or [],
        groups=list(HitGroup),
        looks_like_id=is_id(text),
        address_of=address_of,
    )


def _pages_named(text: str) -> list[Entry]:
    """The pages whose name, with that of their group in the navigation, holds the words: `stripe events`."""
    part = folded(text)
    return [
        entry
        for group in navigation(with_lab=lab_offered())
        for entry in group.entries
        if part and part in folded(f"{group.title or ''} {entry.label}")
    ]


def _is_secret(text: str) -> bool:
    return classify(text).credential in _SECRETS
