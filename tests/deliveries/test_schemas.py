"""The published schemas are those of the code, and all that is sent fits them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from flask.testing import FlaskClient
from jsonschema import Draft202012Validator

from licenzy.alignment.modes import Mode
from licenzy.deliveries.models import EventType, Source
from licenzy.deliveries.rules import Data, EventDraft, body
from licenzy.deliveries.schemas import schema_of
from licenzy.projects.scope import Scope
from tests.support.clock import START
from tests.support.write_schemas import FOLDER, text_of


def wrong(value: dict[str, Any]) -> list[str]:
    """What the schema of its type says against a body."""
    validator = Draft202012Validator(schema_of(EventType(value["type"])))
    return [error.message for error in validator.iter_errors(value)]


@pytest.mark.parametrize("event_type", EventType)
def test_the_files_are_what_the_code_makes(event_type: EventType) -> None:
    Draft202012Validator.check_schema(schema_of(event_type))
    written = (FOLDER / f"{event_type.value}.json").read_text(encoding="utf-8")
    assert written == text_of(event_type), "run `python -m tests.support.write_schemas`"


def test_there_is_a_file_for_each_type_and_no_other() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == {each.value for each in EventType}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_they_are_served(client: FlaskClient) -> None:
    for each in EventType:
        answer = client.get(f"/docs/schemas/{each.value}.json")
        assert json.loads(answer.data) == schema_of(each)
    assert client.get("/docs/schemas/other.json").status_code == 404
    assert client.get("/docs/schemas/..%2findex.json").status_code == 404


@pytest.mark.parametrize("event_type", EventType)
def test_an_empty_event_fits(event_type: EventType) -> None:
    draft = EventDraft(event_type, Source.PORTAL, "test", None, Data())
    told = body(Scope("prj_1", Mode.TEST), draft, event_id="evt_1", subject_ref=None, now=START)
    assert wrong(told) == []


@pytest.mark.parametrize(
    "change",
    [{"id": 5}, {"mode": "both"}, {"data": {}}, {"type": "other"}, {"subject_ref": 5}, {"created_at": "now"}],
)
def test_the_schema_refuses_what_is_no_event(change: dict[str, Any]) -> None:
    draft = EventDraft(EventType.USAGE_LOW, Source.RUNTIME, "low", None, Data())
    told = body(Scope("prj_1", Mode.TEST), draft, event_id="evt_1", subject_ref=None, now=START)
    validator = Draft202012Validator(schema_of(EventType.USAGE_LOW))
    assert list(validator.iter_errors({**told, **change}))
