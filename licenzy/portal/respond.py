"""The answers of the portal: a page or its fragment, or a way to another page."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flask import Response, flash, make_response, redirect, render_template, url_for
from htmx_flask import request

from licenzy.errors import LicenzyError, NotFound
from licenzy.portal.forms import PortalForm

_VARY = "HX-Request"


def show(
    page_template: str, fragment_template: str | None = None, *, status: int = 200, **context: Any
) -> Response:
    """The page, or only its fragment when htmx asks for a part of the page it stands on.

    Boosted links and returns through the browser's history get the whole page. A form with errors is
    shown with status 422, and polling that has nothing more to wait for with 286.
    """
    template = fragment_template if fragment_template and wants_fragment() else page_template
    if status == 286 and not wants_fragment():
        status = 200  # A status that only htmx knows; a browser gets the page plainly.
    response = make_response(render_template(template, **context), status)
    response.vary.add(_VARY)
    return response


def show_form(form: PortalForm, page_template: str, fragment_template: str, **context: Any) -> Response:
    """The page with its form, or only the form, with the status that the form asks for."""
    response = show(page_template, fragment_template, status=form.http_status, form=form, **context)
    if response.status_code == 429 and form.refusal is not None:
        response.headers["Retry-After"] = str(form.refusal.retry_after)
    return response


@contextmanager
def flashed_refusals(*, and_then: str = "") -> Iterator[None]:
    """Within it a verb is tried for which there is no form: what it refuses is flashed as an error.

    `and_then` is a sentence to add. That the address names nothing is answered as not found.
    """
    try:
        yield
    except NotFound:
        raise
    except LicenzyError as error:
        flash(f"{error.message} {and_then}".rstrip(), "error")


def go(url: str) -> Response:
    """Send the browser to another page of ours, after a form or instead of a page."""
    target = own_path(url)
    if bool(request.htmx) and not request.htmx.boosted:
        response = make_response("", 204)
        response.headers["HX-Redirect"] = target
    else:
        response = make_response(redirect(target, 303))
    response.vary.add(_VARY)
    return response


def no_referrer(response: Response) -> Response:
    """For a page whose address itself is the secret, so that no link may carry it on."""
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


def wants_fragment() -> bool:
    """Whether htmx asks for a part of the page."""
    htmx = request.htmx
    return bool(htmx) and not htmx.boosted and not htmx.history_restore_request


def wants_script() -> bool:
    """Whether htmx made this request at all."""
    return bool(request.htmx)


def current_page() -> str:
    """The path of the page in the browser: this address, or the page from which a part was asked for."""
    if request.htmx:
        url = request.htmx.current_url
    elif request.method == "POST":
        url = request.referrer
    else:
        return own_path(request.full_path.rstrip("?"))
    host = request.host_url.rstrip("/")
    return own_path(url.removeprefix(host) if url and url.startswith(host) else None)


def own_path(url: str | None, *, otherwise: str | None = None) -> str:
    """`url` when it is a plain path of ours, else `otherwise`, else the start page.

    Anything a browser could read as another site is refused: a scheme, `//`, backslashes, control
    characters and spaces (browsers drop some of them, so that `/<tab>/evil.example` would leave).
    """
    if url and _is_own(url):
        return url
    return otherwise or url_for("portal.home")


def _is_own(url: str) -> bool:
    if not url.startswith("/") or url.startswith("//") or len(url) > 2000:
        return False
    return all("!" <= char <= "~" and char != "\\" for char in url)
