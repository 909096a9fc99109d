"""What single findings say of what was seen, and how severe that is."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from licenzy.alignment.facts import OutboundFacts, ProjectFacts
from licenzy.alignment.findings import Severity
from licenzy.alignment.rules import findings
from tests.alignment.test_rules import LATER, LIVE, NOTHING_LIVE, TEST, fetching, side, traffic
from tests.support.clock import START


@pytest.mark.parametrize(
    ("last_error", "evidence"),
    [
        (
            "The endpoint answered 500.",
            "The endpoint answered 500. No delivery has succeeded since 2026-01-15 12:00 UTC.",
        ),
        ("", "No delivery has succeeded since 2026-01-15 12:00 UTC."),
    ],
)
def test_a_failing_endpoint_shows_what_it_answered_and_since_when(last_error: str, evidence: str) -> None:
    since = datetime(2026, 1, 15, 12, tzinfo=UTC)
    failing = (OutboundFacts("whe_1", "https://a.example", since, last_error),)
    facts = ProjectFacts(LATER, side(TEST, **traffic(TEST, failing_endpoints=failing)), NOTHING_LIVE)
    assert [finding.evidence for finding in findings(facts, TEST)] == [evidence]


@pytest.mark.parametrize(
    ("changes", "severity"),
    [({}, Severity.BLOCKS), ({"secret_saved_at": START, "proven_at": LATER}, Severity.WARNS)],
)
def test_a_key_that_may_not_read_events_blocks_only_what_nothing_else_delivers(
    changes: dict[str, Any], severity: Severity
) -> None:
    asked = fetching(problem="The key lacks it.", permission="rak_event_read")["connection"]
    test = side(TEST, connection=replace(asked, **changes))
    (found,) = (
        each
        for each in findings(ProjectFacts(LATER, test, side(LIVE)), TEST)
        if each.code == "events_not_fetched"
    )
    assert found.severity is severity
    assert "rak_event_read" in found.cause
