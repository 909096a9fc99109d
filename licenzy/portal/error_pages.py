"""Refusals as pages. Under `/v1` the API's own answers are given instead."""

from __future__ import annotations

from flask import Flask, Response, current_app, g, make_response, render_template, request, url_for
from werkzeug.exceptions import HTTPException

from licenzy.errors import LicenzyError
from licenzy.portal.respond import wants_script

_TITLES = {
    400: "Invalid request",
    401: "Sign in first",
    403: "Not allowed",
    404: "Page not found",
    405: "Method not allowed",
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
    413: "The form is larger than the server accepts. Shorten it and try again.",
    422: "A field has an invalid value. Go back and correct it.",
    500: "The error was logged and nothing was partly saved. Try again, or check the server log.",
}


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
    response = _error_page(status, message=own_words, hint=None)
    allowed = getattr(error, "valid_methods", None)
    if allowed:
        response.headers["Allow"] = ", ".join(sorted(allowed))
    return response


def _refusal(error: LicenzyError) -> Response:
    answer = _by_api(error)
    if answer is not None:
        return answer
    response = _error_page(error.status, message=error.message, hint=error.hint)
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(error.retry_after)
    return response


def _by_api(error: Exception) -> Response | None:
    answer = current_app.extensions.get("licenzy_api_errors")
    if answer is None or request.path.lstrip("/").partition("/")[0].lower() != "v1":
        return None
    return make_response(answer(error))


def _error_page(status: int, *, message: str | None, hint: str | None) -> Response:
    """The page, or for htmx a notice that it puts at the top of the page it stands on.

    Nothing here reads the database or the visitor: it must work when both are unavailable.
    """
    title = _TITLES.get(status, "That didn’t work")
    template = "errors/_notice.html" if wants_script() else "errors/page.html"
    here = g.get("side")
    home = url_for("portal.project.overview") if here else "/"
    text = render_template(
        template, status=status, title=title, message=message, hint=hint, here=here, home=home
    )
    response = make_response(text, status)
    response.headers["Cache-Control"] = "no-store"
    response.vary.add("HX-Request")
    if wants_script():
        response.headers["HX-Retarget"] = "#notices"
        response.headers["HX-Reswap"] = "innerHTML"
    return response
