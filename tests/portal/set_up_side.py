"""A project's test side on its pages: who visits, and the addresses below it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.conftest import Sandbox
from tests.support.cast import Cast
from tests.support.visits import Form, forms_of, visiting

HTMX = {"HX-Request": "true"}


@dataclass
class SidePages:
    """The pages of one side as one visitor sees them, without scripts unless `htmx` is asked for."""

    client: FlaskClient
    base: str

    def get(self, path: str = "", **more: Any) -> TestResponse:
        return self.client.get(self.base + path, **more)

    def form(self, path: str, action_ends: str) -> Form:
        """The form on a page that is sent to an address with this end."""
        page = self.get(path)
        assert page.status_code == 200, page.text
        found = [form for form in forms_of(page) if form.action.endswith(action_ends)]
        assert found, f"{path} has no form for {action_ends}"
        return found[0]

    def send(
        self, path: str, action_ends: str, values: dict[str, Any], *, htmx: bool = False
    ) -> TestResponse:
        """Fill in a form of a page and send it."""
        form = self.form(path, action_ends)
        return self.client.post(form.action, data={**form.fields, **values}, headers=HTMX if htmx else None)


def side_pages(app: Flask, cast: Cast, *, email: str | None = None, mode: str = "test") -> SidePages:
    """The side of the cast's project as the owner sees it, or as somebody else does."""
    client = visiting(app, email or cast.owner.email)
    return SidePages(client, f"/projects/{cast.project_id}/{mode}")


def connected(pages: SidePages, _sandbox: Sandbox) -> SidePages:
    """The same side, connected to the running sandbox with its webhook set up."""
    assert pages.send("/connection", "/connection/sandbox", {}).status_code == 303
    assert pages.send("/connection", "/connection/endpoint", {"rotate": ""}).status_code == 303
    return pages
