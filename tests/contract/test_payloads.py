"""The saved payloads are what Stripe's description says that it sends, and are of every type that matters."""

from __future__ import annotations

import json
import re

from licenzy.connections.rules import REQUIRED_EVENTS
from licenzy.stripe_gateway.shapes import READ_EVENT_TYPES
from tests.contract.description import wrong_with_event, wrong_with_object
from tests.support.payloads import answers, current_events
from tests.support.payloads.older import older_events


def test_the_saved_events_are_as_described() -> None:
    assert [(name, wrong) for name, event in current_events() if (wrong := wrong_with_event(event))] == []


def test_the_saved_answers_are_as_described() -> None:
    assert [(name, wrong) for name, answer in answers() if (wrong := wrong_with_object(answer))] == []
    assert any(answer["object"] == "list" and answer["data"] for _, answer in answers())


def test_every_type_that_is_read_or_required_is_among_them() -> None:
    types = {event["type"] for _, event in current_events()}
    assert set(READ_EVENT_TYPES) | set(REQUIRED_EVENTS) <= types
    assert len(types - set(READ_EVENT_TYPES)) >= 15, "types that are ignored"


def test_the_older_shapes_have_what_the_current_version_does_not_describe() -> None:
    """Else they would be the saved ones once more."""
    older = older_events(current_events())
    assert len(dict(older)) == len(older)
    wrong = {name for name, event in older if wrong_with_event(event)}
    moved = ("customer.subscription.", "invoice.", "charge.refunded")
    for name, _event in older:
        if name.startswith(moved) and name.endswith(("--2017", "--2020", "--in-both-places")):
            assert name in wrong


def test_the_saved_payloads_are_of_nobody() -> None:
    text = json.dumps([*current_events(), *answers()])
    assert set(re.findall(r"@([a-z.]+)", text)) == {"example.com"}
    assert not re.search(r"127\.0\.0\.1|whsec_|[rs]k_(test|live)_", text)
