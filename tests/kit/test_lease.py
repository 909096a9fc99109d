"""When a lease ends, and who may take work then."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from licenzy.kit.lease import Lease, is_free

NOW = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)


def test_work_is_its_holders_until_the_lease_ends() -> None:
    until = Lease(timedelta(seconds=30)).until(NOW)
    assert until == NOW + timedelta(seconds=30)
    assert not is_free(until, NOW)
    assert not is_free(until, until - timedelta(microseconds=1))
    assert is_free(until, until)
    assert is_free(until, until + timedelta(days=1))


def test_work_without_a_lease_is_free() -> None:
    assert is_free(None, NOW)
