"""Requests that every route of the API must refuse, and how."""

from __future__ import annotations

from tests.support.tokens import unknown_token


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


HEADERS: list[tuple[str, dict[str, str], str]] = [
    ("no header", {}, "api_key_missing"),
    ("empty token", {"Authorization": "Bearer "}, "api_key_invalid"),
    ("two tokens", {"Authorization": "Bearer a b"}, "api_key_invalid"),
    ("basic authentication", {"Authorization": "Basic abc"}, "api_key_invalid"),
    ("token that is not ASCII", {"Authorization": "Bearer lz_test_\u00e9\u00ff"}, "api_key_invalid"),
    ("long token", {"Authorization": "Bearer " + "x" * 8192}, "api_key_invalid"),
    ("unknown key", {"Authorization": f"Bearer {unknown_token()}"}, "api_key_invalid"),
    ("wrong checksum", {"Authorization": "Bearer lz_test_" + "a" * 49}, "api_key_invalid"),
    ("Stripe's secret key", {"Authorization": "Bearer sk_live_0123456789abcdef"}, "stripe_key_sent"),
    ("Stripe's restricted key", {"Authorization": "Bearer rk_test_0123456789abcdef"}, "stripe_key_sent"),
]
"""What is wrong with the API key, the headers, and the code of the 401."""

UNREADABLE_BODIES: list[tuple[str, bytes, str, int, str]] = [
    ("no content type", b'{"subject_ref":"u"}', "", 415, "unsupported_media_type"),
    ("plain text", b'{"subject_ref":"u"}', "text/plain", 415, "unsupported_media_type"),
    (
        "other charset",
        b'{"subject_ref":"u"}',
        "application/json; charset=latin-1",
        415,
        "unsupported_media_type",
    ),
    ("malformed", b'{"subject_ref":', "application/json", 400, "invalid_json"),
    ("empty body", b"", "application/json", 400, "invalid_json"),
    ("byte order mark", b'\xef\xbb\xbf{"subject_ref":"u"}', "application/json", 400, "invalid_json"),
    ("UTF-16", '{"subject_ref":"u"}'.encode("utf-16"), "application/json", 400, "invalid_json"),
    ("Latin-1", '{"subject_ref":"é"}'.encode("latin-1"), "application/json", 400, "invalid_json"),
    ("lists nested too deep", b"[" * 60_000, "application/json", 400, "invalid_json"),
    ("objects nested too deep", b'{"a":' * 33 + b"1" + b"}" * 33, "application/json", 400, "invalid_json"),
    ("NaN", b'{"subject_ref":NaN}', "application/json", 400, "invalid_json"),
    ("Infinity", b'{"subject_ref":-Infinity}', "application/json", 400, "invalid_json"),
    ("number over the largest float", b'{"subject_ref":1e400}', "application/json", 400, "invalid_json"),
    (
        "number of 5000 digits",
        b'{"subject_ref":' + b"9" * 5000 + b"}",
        "application/json",
        400,
        "invalid_json",
    ),
    ("name given twice", b'{"subject_ref":"a","subject_ref":"b"}', "application/json", 400, "invalid_json"),
    ("list", b'["u"]', "application/json", 400, "invalid_json"),
    ("null", b"null", "application/json", 400, "invalid_json"),
    (
        "body too large",
        b'{"subject_ref":"' + b"u" * 70_000 + b'"}',
        "application/json",
        413,
        "payload_too_large",
    ),
]
"""Bodies that no route can read: what is wrong, the body, its content type, and the status and code."""

BODIES: list[tuple[str, bytes, str, int, str]] = [
    *UNREADABLE_BODIES,
    ("unknown field", b'{"subject_ref":"u","colour":"red"}', "application/json", 400, "unknown_field"),
    ("mode in the body", b'{"subject_ref":"u","mode":"live"}', "application/json", 400, "mode_not_allowed"),
    ("lone surrogate", b'{"subject_ref":"\\ud800"}', "application/json", 400, "invalid_request"),
    ("NUL", b'{"subject_ref":"a\\u0000b"}', "application/json", 400, "invalid_request"),
    ("control character", b'{"subject_ref":"a\\u0085b"}', "application/json", 400, "invalid_request"),
    ("line separator", b'{"subject_ref":"a\\u2028b"}', "application/json", 400, "invalid_request"),
    ("bidirectional override", b'{"subject_ref":"a\\u202eb"}', "application/json", 400, "invalid_request"),
    ("empty subject_ref", b'{"subject_ref":""}', "application/json", 400, "invalid_request"),
    ("subject_ref of spaces", b'{"subject_ref":"   "}', "application/json", 400, "invalid_request"),
    (
        "subject_ref too long",
        b'{"subject_ref":"' + b"u" * 201 + b'"}',
        "application/json",
        400,
        "invalid_request",
    ),
    ("subject_ref is null", b'{"subject_ref":null}', "application/json", 400, "invalid_request"),
    (
        "product_code is null",
        b'{"subject_ref":"u","product_code":null}',
        "application/json",
        400,
        "invalid_request",
    ),
    ("feature is null", b'{"subject_ref":"u","feature":null}', "application/json", 400, "invalid_request"),
    ("subject_ref is a number", b'{"subject_ref":1}', "application/json", 400, "invalid_request"),
    ("subject_ref is a boolean", b'{"subject_ref":true}', "application/json", 400, "invalid_request"),
    ("subject_ref is a list", b'{"subject_ref":["u"]}', "application/json", 400, "invalid_request"),
    ("subject_ref missing", b"{}", "application/json", 400, "invalid_request"),
    (
        "Stripe price as product_code",
        b'{"subject_ref":"u","product_code":"price_1"}',
        "application/json",
        400,
        "stripe_price_id_not_allowed",
    ),
    (
        "Stripe product as product_code",
        b'{"subject_ref":"u","product_code":"prod_1"}',
        "application/json",
        400,
        "invalid_request",
    ),
]
"""The same, and those whose fields `POST /v1/access/check` refuses."""
