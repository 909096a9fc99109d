"""What a form does with the refusal of a verb."""

from __future__ import annotations

import re

import pytest
from flask import Flask, render_template_string
from wtforms import RadioField, StringField
from wtforms.validators import InputRequired

from licenzy.errors import InvalidRequest, LicenzyError, NotFound, RateLimited
from licenzy.portal.forms import PortalForm


class NameForm(PortalForm):
    name = StringField()


class KindForm(PortalForm):
    kind = RadioField(choices=["pass", "pack"], validators=[InputRequired()])
    name = StringField(description="Anything.", validators=[InputRequired()])


def test_a_refusal_is_put_into_the_form_and_what_follows_goes_on(app: Flask) -> None:
    with app.test_request_context(method="POST"):
        form = NameForm()
        with form.refusals():
            raise InvalidRequest(fields={"name": "Another name, for example."})
        assert form.name.errors == ["Another name, for example."]
        assert form.http_status == 422


def test_an_error_is_joined_to_every_input_it_is_about(app: Flask) -> None:
    source = """
        {%- from "components/form.html" import confirm_typed, field -%}
        {{ field(form.kind) }}{{ field(form.name, hx_get="/x") }}
        {{ confirm_typed("/x", "Delete…", "It is gone.", "Delete", word="this", error="That is not it.") }}
    """
    with app.test_request_context(method="POST"):
        form = KindForm()
        form.validate()
        text = render_template_string(source, form=form)
    inputs = re.findall(r"<input[^>]*>", text)
    for name, error in (("kind", "kind-error"), ("name", "name-help name-error"), ("typed", "typed-error")):
        about = [each for each in inputs if f'name="{name}"' in each]
        assert len(about) == (2 if name == "kind" else 1)
        for each in about:
            assert f'aria-describedby="{error}"' in each
            assert 'aria-invalid="true"' in each
        assert f'id="{error.split()[-1]}"' in text
    assert 'hx-get="/x"' in text


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
