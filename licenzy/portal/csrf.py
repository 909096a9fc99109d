"""Forms are taken from our own pages only: by token, and by what the browser says of their origin."""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import current_app, g, request, url_for
from flask_wtf.csrf import generate_csrf, validate_csrf
from werkzeug.exceptions import Forbidden
from wtforms import ValidationError

from licenzy.kit import uploads
from licenzy.portal.respond import current_page
from licenzy.portal.sessions import signed_in_user

FORM_MAX_BYTES = 256 * 1024
_READS = frozenset({"GET", "HEAD", "OPTIONS"})


class FormNotOurs(Forbidden):
    """A form was sent without the token of its session, or from another site."""

    def __init__(self) -> None:
        super().__init__(
            "This form was not sent from a page of this session, so nothing was changed. "
            "Go back, reload the page and try again."
        )


class SessionEnded(FormNotOurs):
    """A form of a page for who is signed in was sent after the session had ended."""

    title = "Your session has ended"

    def __init__(self) -> None:
        Forbidden.__init__(self, "Nothing was changed. Sign in to return to the page, then send it again.")
        self.action = ("Sign in", url_for("portal.sign_in", next=current_page()))


def check_form_origin() -> None:
    """Refuse writes that do not come from a page of ours. Raises FormNotOurs.

    It runs for the portal's pages only: the API takes no cookies and needs no token.
    """
    request.max_content_length = uploads.MOST_BYTES if uploads.takes_files(request.path) else FORM_MAX_BYTES
    if request.method in _READS:
        return
    if _is_cross_site():
        raise FormNotOurs
    token = request.headers.get("X-CSRFToken") or request.form.get("csrf_token")
    try:
        # Compared as ASCII: other characters would be a TypeError in the library.
        validate_csrf(token if token and token.isascii() else None)
    except ValidationError:
        raise (SessionEnded if _needs_session() and signed_in_user() is None else FormNotOurs) from None
    g.csrf_valid = True  # Flask-WTF's forms then take their token as checked.


def _needs_session() -> bool:
    view = current_app.view_functions.get(request.endpoint or "")
    return getattr(view, "guard", "public") != "public"


def csrf_token() -> str:
    """The token of the visitor's session, for forms and for htmx."""
    return str(generate_csrf())


def _is_cross_site() -> bool:
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site not in {"same-origin", "none"}
    origin = request.headers.get("Origin", "null")
    # Pages with a no-referrer policy send "null" from older browsers; the token decides then.
    return origin != "null" and urlsplit(origin).netloc.lower() != request.host.lower()
