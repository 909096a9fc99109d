"""The guide, rendered from the Markdown files that travel with the package."""

from __future__ import annotations

from flask import abort
from flask.typing import ResponseReturnValue

from licenzy.portal.blueprint import portal
from licenzy.portal.guards import public
from licenzy.portal.guide import guide_page, guide_pages
from licenzy.portal.respond import show


@portal.get("/docs")
@portal.get("/docs/<page>")
@public
def docs(page: str = "index") -> ResponseReturnValue:
    """One page of the guide; only files that are in the folder have an address at all."""
    found = guide_page(page)
    if found is None:
        abort(404)
    response = show("docs/page.html", guide=found, pages=guide_pages())
    response.headers["Cache-Control"] = "no-cache"
    return response
