"""What the sandbox's pages have in common: their headers, and how money and time are written."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from urllib.parse import urlsplit

from flask import Response, g, render_template

_WHOLE_CURRENCIES = {
    "bif",
    "clp",
    "djf",
    "gnf",
    "jpy",
    "kmf",
    "krw",
    "mga",
    "pyg",
    "rwf",
    "vnd",
    "vuv",
    "xaf",
    "xof",
    "xpf",
}
_THOUSANDTHS_CURRENCIES = {"bhd", "jod", "kwd", "omr", "tnd"}
_SIGNS = {"usd": "$", "eur": "€", "gbp": "£", "jpy": "¥", "inr": "₹"}


def page(
    template: str, status: int = 200, *, form_targets: tuple[str | None, ...] = (), **context: object
) -> Response:
    """A page whose forms may lead to its own address and to the origins of `form_targets`, and nowhere
    else."""
    g.form_targets = form_targets
    return Response(
        render_template(template, format_money=format_money, format_time=format_time, **context),
        status,
        mimetype="text/html",
    )


def set_security_headers(response: Response) -> Response:
    """Headers of every answer."""
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers.setdefault("Cache-Control", "no-store")
    if response.mimetype != "text/html":
        return response
    origins = " ".join(sorted({_origin(t) for t in g.get("form_targets", ()) if t}))
    response.headers["Content-Security-Policy"] = (
        "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'; "
        f"form-action 'self' {origins}".rstrip()
    )
    # The address of a page is what lets one use it, so it must not travel on.
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["X-Frame-Options"] = "DENY"
    return response


def format_money(amount: int | None, currency: str) -> str:
    """An amount in the smallest unit, as people write it."""
    if amount is None:
        return "varies"
    places = 0 if currency in _WHOLE_CURRENCIES else 3 if currency in _THOUSANDTHS_CURRENCIES else 2
    shown = f"{Decimal(amount).scaleb(-places):,.{places}f}"
    sign = _SIGNS.get(currency)
    return f"{sign}{shown}" if sign else f"{shown} {currency.upper()}"


def format_time(at: int | None) -> str:
    return "" if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _origin(address: str) -> str:
    """Chromium holds the redirect that follows a form against `form-action`, so the shop's origin must stand
    there."""
    parts = urlsplit(address)
    host = (
        parts.netloc.rpartition("@")[2].encode("idna").decode()
        if parts.netloc.isascii() is False
        else parts.netloc
    )
    if parts.scheme not in ("http", "https"):
        return f"{parts.scheme}:"
    return f"{parts.scheme}://{host.rpartition('@')[2]}".replace(";", "").replace(",", "")
