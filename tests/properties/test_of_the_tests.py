"""The proof over histories finds what it is there to find: each planted mistake must turn it red."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from licenzy.entitlements import grace, ordering, projection, reversals, subscription_history, subscriptions
from licenzy.entitlements.subscriptions import of_subscription
from tests.properties import fixtures_projection, test_histories
from tests.properties.test_histories import differences


def found(kind: str, *, among: int = 300) -> int:
    """How many of some histories differ in this way."""
    return differences(among)[f"differs {kind}"]


def test_nothing_is_found_where_nothing_is_planted() -> None:
    assert not any("differs" in verdict for verdict in differences(300))


def test_the_last_one_told_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscription_history, "latest", lambda states: states[-1])
    assert found("without a tie")
    assert found("once settled")


def test_only_the_second_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ordering by `created` alone: good as long as no two events share a second, and no longer."""
    monkeypatch.setattr(
        subscription_history, "latest", lambda states: max(states, key=lambda s: s.occurred_at)
    )
    assert not found("without a tie")
    assert found("once settled")


def test_snapshots_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_snapshots(states: Sequence[Any]) -> Any:
        told = [state for state in states if state.source != "snapshot"]
        return ordering.latest(told)

    monkeypatch.setattr(subscription_history, "latest", without_snapshots)
    assert found("once settled")


def test_duplicates_are_kept_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dedupe off: each telling of a refund is a refund, each telling of a payment a grant."""

    def each_alone(facts: Sequence[Any], kind: str) -> list[list[Any]]:
        return [[fact] for fact in facts if fact.kind == kind]

    def all_of_them(delivered: Any, history: Any, life: Any) -> list[Any]:
        return [fact for raw in delivered for fact in once([raw], history, life)]

    once = fixtures_projection.received
    monkeypatch.setattr(reversals, "_by_object", each_alone)
    monkeypatch.setattr(test_histories, "received", all_of_them)
    assert found("without a tie", among=1_000)
    assert found("from what a fair judge says")


def test_refunds_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reversals, "reversal", lambda facts, *, paid: None)
    assert found("from what a fair judge says")


def test_the_last_period_rolls_forward_unpaid(monkeypatch: pytest.MonkeyPatch) -> None:
    """Grace that starts with the latest failure instead of the first one."""
    first = grace.unpaid_since

    def last_failure(state: Any, item: Any, states: Sequence[Any], facts: Sequence[Any]) -> Any:
        failed = [f.occurred_at for f in facts if f.kind == "invoice" and "failed" in f.data["event"]]
        return max(failed, default=first(state, item, states, facts))

    monkeypatch.setattr(subscriptions, "unpaid_since", last_failure)
    assert found("from what a fair judge says")


def test_an_arrival_decides_a_tie(monkeypatch: pytest.MonkeyPatch) -> None:
    """A projection that depends on the order of its facts at all."""
    whole = of_subscription

    def only_the_first_half(facts: Sequence[Any]) -> Any:
        return whole(facts[: max(1, len(facts) * 9 // 10)])

    monkeypatch.setattr(projection, "of_subscription", only_the_first_half)
    assert found("without a tie")
