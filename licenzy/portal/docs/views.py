"""The guide, rendered from the Markdown files that travel with the package."""

from __future__ import annotations

from flask import Response, abort
from flask.typing import ResponseReturnValue

from licenzy.deliveries.models import EventType
from licenzy.kit.resources import resource_dir
from licenzy.portal.blueprint import portal
from licenzy.portal.docs import api_reference
from licenzy.portal.docs.renderer import guide_page, guide_pages
from licenzy.portal.guards import public
from licenzy.portal.respond import show
from licenzy.runtime import runtime


@portal.get("/docs")
@portal.get("/docs/<page>")
@portal.get("/docs/schemas/<event_type>.json")
@public
def docs(page: str | None = None, event_type: str | None = None) -> ResponseReturnValue:
    """A page of the guide, the first by default, the API reference, or the JSON Schema of a webhook.

    Apart from the reference, only files of the guide's folder have an address at all.
    """
    if event_type is not None:
        return _schema(event_type)
    pages = guide_pages()
    slug = page or (pages[0][0] if pages else "index")
    base_url = runtime().settings.base_url
    is_reference = slug == api_reference.SLUG
    found = api_reference.reference_page() if is_reference else guide_page(slug, base_url=base_url)
    if found is None:
        abort(404)
    response = show("docs/page.html", page=found, pages=[*pages, (api_reference.SLUG, api_reference.TITLE)])
    response.headers["Cache-Control"] = "no-cache"
    return response


def _schema(event_type: str) -> Response:
    if event_type not in list(EventType):
        abort(404)
    text = (resource_dir("docs") / "schemas" / f"{event_type}.json").read_text(encoding="utf-8")
    return Response(text, mimetype="application/schema+json", headers={"Cache-Control": "no-cache"})
