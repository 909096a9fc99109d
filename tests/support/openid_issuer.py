"""A small OpenID provider on loopback, which can be told to lie."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from flask import Flask, Response, jsonify, redirect, request
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey

from tests.support.servers import served

CLIENT_ID, CLIENT_SECRET = "licenzy-of-the-tests", "secret-of-the-tests"


@dataclass
class Issuer:
    """What the provider knows of its one person, and how it misbehaves."""

    address: str = ""
    claims: dict[str, Any] = field(default_factory=dict)
    """What its tokens say beside what they must; a value of None leaves a claim out."""
    header: dict[str, Any] = field(default_factory=dict)
    signs_with_another_key: bool = False
    signs_with_the_secret: bool = False
    refuses: bool = False
    """Answers with an error instead of a code."""
    calls_itself: str | None = None
    hangs_seconds: float = 0.0
    asked: list[str] = field(default_factory=list)
    """The paths that were asked for."""
    codes: dict[str, Mapping[str, str]] = field(default_factory=dict)
    key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": "one"}))
    other_key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": "one"}))

    def token(self, nonce: str, *, now: float) -> str:
        claims = {
            "iss": self.address,
            "sub": "person-1",
            "aud": CLIENT_ID,
            "iat": int(now),
            "exp": int(now) + 300,
            "nonce": nonce,
            **self.claims,
        }
        said = {name: value for name, value in claims.items() if value is not None}
        header = {"alg": "RS256", "kid": "one", **self.header}
        if self.signs_with_the_secret:
            secret = OctKey.import_key(CLIENT_SECRET * 2)
            return jwt.encode({**header, "alg": "HS256"}, said, secret)
        return jwt.encode(header, said, self.other_key if self.signs_with_another_key else self.key)


def issuer_app(issuer: Issuer, clock: Any) -> Flask:
    app = Flask("issuer")

    @app.before_request
    def note() -> None:
        issuer.asked.append(request.path)
        time.sleep(issuer.hangs_seconds)

    @app.get("/.well-known/openid-configuration")
    def described() -> Response:
        return jsonify(
            issuer=issuer.calls_itself or issuer.address,
            authorization_endpoint=f"{issuer.address}/authorize",
            token_endpoint=f"{issuer.address}/token",
            jwks_uri=f"{issuer.address}/keys",
        )

    @app.get("/authorize")
    def authorize() -> Any:
        given = request.args.to_dict()
        back, state = given["redirect_uri"], given["state"]
        if issuer.refuses:
            return redirect(f"{back}?{urlencode({'error': 'access_denied', 'state': state})}")
        code = f"code-{len(issuer.codes)}"
        issuer.codes[code] = given
        return redirect(f"{back}?{urlencode({'code': code, 'state': state})}")

    @app.post("/token")
    def token() -> Any:
        given = issuer.codes.pop(request.form.get("code", ""), None)
        if given is None or not _is_proven(given, request.form.get("code_verifier", "")):
            return jsonify(error="invalid_grant"), 400
        authorization = request.authorization
        if authorization is None or (authorization.username, authorization.password) != (
            CLIENT_ID,
            CLIENT_SECRET,
        ):
            return jsonify(error="invalid_client"), 401
        id_token = issuer.token(given["nonce"], now=clock().timestamp())
        return jsonify(access_token="opaque", token_type="Bearer", id_token=id_token)

    @app.get("/keys")
    def keys() -> Response:
        return jsonify(keys=[issuer.key.as_dict(private=False)])

    return app


@contextmanager
def running_issuer(clock: Any, **options: Any) -> Iterator[Issuer]:
    """An issuer that answers over HTTP."""
    issuer = Issuer(**options)
    with served(issuer_app(issuer, clock)) as address:
        issuer.address = address
        yield issuer


def sent_back(issuer: Issuer, authorization_url: str) -> str:
    """Where the provider sends the browser after the person agreed there: path and query of ours."""
    import httpx

    assert authorization_url.startswith(f"{issuer.address}/authorize?"), authorization_url
    answer = httpx.get(authorization_url, trust_env=False, timeout=10)
    assert answer.status_code == 302, answer.text
    parts = urlsplit(answer.headers["Location"])
    return f"{parts.path}?{parts.query}"


def query_of(url: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(url).query))


def _is_proven(given: Mapping[str, str], verifier: str) -> bool:
    digest = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
    return given.get("code_challenge_method") == "S256" and given.get("code_challenge") == digest
