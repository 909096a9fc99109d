"""What a form does with the refusal of a verb."""

from __future__ import annotations

import pytest
from flask import Flask
from wtforms import StringField

from licenzy.errors import InvalidRequest, LicenzyError, NotFound, RateLimited
from licenzy.portal.forms import PortalForm


class NameForm(PortalForm):
    name = StringField()


def test_a_refusal_is_put_into_the_form_and_what_follows_goes_on(app: Flask) -> None:
    with app.test_request_context(method="POST"):
        form = NameForm()
        with form.refusals():
            raise InvalidRequest(fields={"name": "Another name, for example."})
        assert form.name.errors == ["Another name, for example."]
        assert form.http_status == 422


@pytest.mark.parametrize("passing", [NotFound("No such thing."), KeyError("name")])
def test_what_is_no_matter_of_the_form_passes_through(app: Flask, passing: Exception) -> None:
    with app.test_request_context(method="POST"):
        form = NameForm()
        with pytest.raises(type(passing)), form.refusals():
            raise passing
        assert form.refusal is None


@pytest.mark.parametrize(
    ("method", "refusal", "status"),
    [("GET", None, 200), ("POST", None, 422), ("POST", InvalidRequest(), 422), ("POST", RateLimited(), 429)],
)
def test_the_status_of_the_page_follows_from_the_form(
    app: Flask, method: str, refusal: LicenzyError | None, status: int
) -> None:
    with app.test_request_context(method=method):
        form = NameForm()
        if refusal is not None:
            form.refuse(refusal)
        assert form.http_status == status
