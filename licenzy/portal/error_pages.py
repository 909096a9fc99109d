"""Refusals as pages. Under `/v1` the API's own answers are given instead."""

from __future__ import annotations

import re

from flask import Flask, Response, current_app, g, make_response, render_template, request, url_for
from werkzeug.exceptions import HTTPException

from licenzy.errors import LicenzyError
from licenzy.kit.ids import has_shape
from licenzy.portal.respond import wants_script

_TITLES = {
    400: "Invalid request",
    401: "Sign in first",
    403: "Not allowed",
    404: "Page not found",
    405: "Method not allowed",
    408: "The request took too long",
    409: "Not possible right now",
    413: "Request too large",
    422: "Check your input",
    429: "Too many requests",
    500: "Something went wrong",
    502: "Stripe refused the call",
    503: "Temporarily unavailable",
    504: "Stripe did not answer in time",
}
_SENTENCES = {
    400: "The browser sent a request that this page can’t read. Reload the page and try again.",
    403: "Your role does not allow this. Ask an admin of the workspace.",
    404: "The address may be mistyped, or the page belongs to the other mode or a workspace you are not in.",
    405: "This address does not accept this kind of request. Go back and use the form on the page.",
    408: "The form did not arrive in time, so nothing was changed. Check your connection and send it again.",
    413: "The form is larger than the server accepts. Shorten it and try again.",
    422: "A field has an invalid value. Go back and correct it.",
    500: "The error was logged and nothing was partly saved. Try again, or check the server log.",
}


_OF_BODIES = frozenset({408, 413})
_PROJECT = re.compile(r"/projects/(?P<id>[^/]+)/(?P<mode>test|live)/", re.ASCII)


def answer_errors(app: Flask) -> None:
    """Answer refusals and failures of any page with the layout of the portal."""
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(LicenzyError, _refusal)


def _http_error(error: HTTPException) -> Response:
    answer = _by_api(error)
    if answer is not None:
        return answer
    status = error.code or 500
    if error.response is not None or status < 400:  # A redirect, or an answer made on purpose.
        return make_response(error.get_response())
    own_words = error.description if error.description != type(error).description else None
    if status >= 500 or not own_words:
        own_words = _SENTENCES.get(status)
    response = _error_page(
        status,
        title=getattr(error, "title", None),
        message=own_words,
        action=getattr(error, "action", None),
    )
    allowed = getattr(error, "valid_methods", None)
    if allowed:
        response.headers["Allow"] = ", ".join(sorted(allowed))
    return response


def _refusal(error: LicenzyError) -> Response:
    answer = _by_api(error)
    if answer is not None:
        return answer
    message, hint = error.message, error.hint
    if error.status in _OF_BODIES:  # Their own words are for callers of the API.
        message, hint = getattr(error, "to_people", None) or _SENTENCES[error.status], ""
    response = _error_page(error.status, message=message, hint=hint)
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(error.retry_after)
    return response


def _by_api(error: Exception) -> Response | None:
    answer = current_app.extensions.get("licenzy_api_errors")
    if answer is None or request.path.lstrip("/").partition("/")[0].lower() != "v1":
        return None
    return make_response(answer(error))


def _error_page(
    status: int,
    *,
    title: str | None = None,
    message: str | None,
    hint: str | None = None,
    action: tuple[str, str] | None = None,
) -> Response:
    """The page, or for htmx a notice that it puts at the top of the page it stands on.

    `action` is the label and the address of what helps; else the page leads back.

    Nothing here reads the database or the visitor: it must work when both are unavailable.
    """
    title = title or _TITLES.get(status, "That didn’t work")
    template = "errors/_notice.html" if wants_script() else "errors/page.html"
    here = g.get("side")
    text = render_template(
        template,
        status=status,
        title=title,
        message=message,
        hint=hint,
        here=here,
        action=action,
        way_back=_way_back(),
    )
    response = make_response(text, status)
    response.headers["Cache-Control"] = "no-store"
    response.vary.add("HX-Request")
    if wants_script():
        response.headers["HX-Retarget"] = "#notices"
        response.headers["HX-Reswap"] = "innerHTML"
    return response


def _way_back() -> tuple[str, str]:
    """The label and the address of the page to go on from: the project's, where the address names one.

    An address without a page of ours says nothing about whether there is such a project; its overview does.
    """
    here = g.get("side")
    if here:
        return f"Back to {here.project.name}", url_for("portal.project.overview")
    named = _PROJECT.match(request.path) if request.url_rule is None else None
    if named and has_shape(named["id"], "prj"):
        home = url_for("portal.project.overview", project_id=named["id"], mode=named["mode"])
        return "Back to the project", home
    return "Go to the start page", "/"
