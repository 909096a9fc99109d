"""Long lists: which page of one is asked for, and the addresses of the pages beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flask import request, url_for

from licenzy.db.paging import NEWEST, Key, Page, Place


@dataclass(frozen=True, slots=True)
class Pages:
    """The addresses of the pages beside the one shown; none where the list ends."""

    newer: str | None
    older: str | None
    newest: str | None
    """The first page, unless this is it."""


def place_asked(read: Callable[[str], Key | None]) -> Place:
    """Where the page asked for begins. `read` makes a key of the address's word, None of one that is none."""
    for side in ("older_than", "newer_than"):
        key = read(request.args.get(side, ""))
        if key is not None:
            return Place(**{side: key})
    return NEWEST


def pages_beside(page: Page[Any], place: Place, **filters: Any) -> Pages:
    """The pages beside this one, narrowed by the same filters."""

    def address(beside: Place | None) -> str | None:
        if beside is None:
            return None
        keys: dict[str, Any] = {"older_than": beside.older_than, "newer_than": beside.newer_than}
        return url_for(request.endpoint or "", **filters, **keys)

    return Pages(address(page.newer), address(page.older), None if place == NEWEST else address(NEWEST))
