"""Long lists: which page of one is asked for, and the addresses of the pages next to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flask import request, url_for

from licenzy.db.paging import NEWEST, Page, Place
from licenzy.kit.ids import id_in


@dataclass(frozen=True, slots=True)
class Pages:
    """The addresses of the pages next to the one shown; none where the list ends."""

    newer: str | None
    older: str | None
    newest: str | None
    """The first page, unless this is it."""


def requested_place(prefix: str) -> Place:
    """Where the page asked for begins, in a list in the order of its ids, which have this prefix."""
    for side in ("older_than", "newer_than"):
        row_id = id_in(request.args.get(side, ""), prefix)
        if row_id is not None:
            return Place(**{side: row_id})
    return NEWEST


def adjacent_pages(page: Page[Any], place: Place, **filters: Any) -> Pages:
    """The pages next to this one, narrowed by the same filters."""

    def address(neighbour: Place | None) -> str | None:
        if neighbour is None:
            return None
        keys: dict[str, Any] = {"older_than": neighbour.older_than, "newer_than": neighbour.newer_than}
        return url_for(request.endpoint or "", **filters, **keys)

    return Pages(address(page.newer), address(page.older), None if place == NEWEST else address(NEWEST))
