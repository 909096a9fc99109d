"""Visiting the portal without a browser: clients that keep their cookies and read forms as a person would."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlsplit

from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.support.cast import PASSWORD


class Form:
    """A form of a page: where it goes, and the values that its inputs hold."""

    def __init__(self, action: str, method: str) -> None:
        self.action = action
        self.method = method
        self.fields: dict[str, str] = {}


class _Forms(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append(Form(given.get("action", ""), given.get("method", "get").lower()))
        if tag == "input" and self.forms and given.get("name"):
            fields = self.forms[-1].fields
            if given.get("type") == "radio" and "checked" not in given:
                fields.setdefault(given["name"], "")
            else:
                fields[given["name"]] = given.get("value", "")


def forms_of(response: TestResponse) -> list[Form]:
    """All forms of a page, in order."""
    reader = _Forms()
    reader.feed(response.text)
    return reader.forms


def csrf_token(client: FlaskClient, path: str = "/sign-in") -> str:
    """The token of the client's session, read from a form of the page at `path`."""
    forms = forms_of(client.get(path))
    return next(form.fields["csrf_token"] for form in forms if "csrf_token" in form.fields)


def submit(client: FlaskClient, path: str, values: dict[str, Any], **more: Any) -> TestResponse:
    """Open the page at `path`, fill in the form that has these fields, and send it where it says."""
    page = client.get(path)
    for form in forms_of(page):
        if set(values) <= set(form.fields) and form.method == "post":
            return client.post(form.action or path, data={**form.fields, **values}, **more)
    raise AssertionError(f"{path} has no form with the fields {sorted(values)}")


def sign_in(
    client: FlaskClient, email: str, password: str = PASSWORD, *, path: str = "/sign-in"
) -> TestResponse:
    """Sign in by the form, as a person does."""
    return submit(client, path, {"email": email, "password": password})


def visiting(app: Flask, email: str) -> FlaskClient:
    """A client that is signed in as somebody of the cast."""
    client = app.test_client()
    answer = sign_in(client, email)
    assert answer.status_code == 303, answer.text
    return client


def location(response: TestResponse) -> str:
    """Where a redirect leads, without scheme and host, which must be ours."""
    target = urlsplit(response.headers["Location"])
    assert target.netloc in {"", "localhost"}, response.headers["Location"]
    return target.path + (f"?{target.query}" if target.query else "")
