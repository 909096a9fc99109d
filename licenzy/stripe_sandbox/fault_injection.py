"""Faults on request, so that a caller can be tested against a bad day of Stripe's.

A rule is `{"match": "POST /v1/checkout/sessions", "http_500": 2, "hang_seconds": 3, "hang_calls": 1,
"drop_after_work": 1, "forbid": 1, "rate_limit_per_second": 5}`; without `match` it meets every call of the
API, and a match that ends in `*` is a prefix. `webhooks` is `{"lose": n, "duplicate": n, "reorder": bool,
"delay_seconds": x}`."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

from licenzy.stripe_sandbox.version import Json

_COUNTS = ("http_500", "hang_calls", "drop_after_work", "forbid")
_KNOWN = {
    "match",
    "http_500",
    "hang_seconds",
    "hang_calls",
    "drop_after_work",
    "forbid",
    "rate_limit_per_second",
    "webhooks",
}
_KNOWN_OF_WEBHOOKS = {"lose", "duplicate", "reorder", "delay_seconds"}
REORDER_GATHERS_SECONDS = 0.3


@dataclass(frozen=True)
class Fault:
    """What to do to one call."""

    hang_seconds: float = 0.0
    http_500: bool = False
    drop_after_work: bool = False
    forbid: bool = False
    """403 as if the key were a restricted one that lacks the call's permission."""


def add(db: sqlite3.Connection, scope: str, rule: Json) -> Json:
    """Add a rule, or replace the faults of webhooks; returns all rules. Raises ValueError for a bad rule."""
    _validate_rule(rule)
    current = read(db, scope)
    api_rule = {k: v for k, v in rule.items() if k != "webhooks"}
    if "hang_seconds" in api_rule:
        api_rule.setdefault("hang_calls", 1)
    if set(api_rule) - {"match"}:
        current["rules"].append(api_rule)
    if "webhooks" in rule:
        current["webhooks"] = rule["webhooks"]
    _write(db, scope, current)
    return current


def read(db: sqlite3.Connection, scope: str) -> Json:
    row = db.execute("SELECT misbehaviour AS faults FROM accounts WHERE scope = ?", (scope,)).fetchone()
    return {"rules": [], "webhooks": {}, **json.loads(row["faults"])}


def clear(db: sqlite3.Connection, scope: str) -> None:
    _write(db, scope, {})


def take_fault(db: sqlite3.Connection, scope: str, method: str, path: str) -> Fault:
    """The fault of this call; what is counted goes down by one."""
    current = read(db, scope)
    hang, broken, dropped, forbidden = 0.0, False, False, False
    for rule in current["rules"]:
        if not _matches(rule.get("match"), method, path):
            continue
        if _count_down(rule, "hang_calls"):
            hang = max(hang, float(rule["hang_seconds"]))
        forbidden = forbidden or _count_down(rule, "forbid")
        broken = broken or _count_down(rule, "http_500")
        dropped = dropped or (not broken and _count_down(rule, "drop_after_work"))
    current["rules"] = [
        r for r in current["rules"] if r.get("rate_limit_per_second") or any(r.get(c) for c in _COUNTS)
    ]
    _write(db, scope, current)
    return Fault(hang, broken, dropped, forbidden)


def take_webhook_fault(db: sqlite3.Connection, scope: str) -> str | None:
    """`lose` or `duplicate` for the post about to be made, or None."""
    current = read(db, scope)
    for kind in ("lose", "duplicate"):
        if _count_down(current["webhooks"], kind):
            _write(db, scope, current)
            return kind
    return None


def webhook_delay(stored: str) -> float:
    webhooks = json.loads(stored).get("webhooks", {})
    gathered = REORDER_GATHERS_SECONDS if webhooks.get("reorder") else 0.0
    return float(webhooks.get("delay_seconds", 0)) + gathered


def reorders_webhooks(stored: str) -> bool:
    return bool(json.loads(stored).get("webhooks", {}).get("reorder"))


class RateLimit:
    """Counts the calls of the last second of each account, in memory: a restart forgives."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: dict[str, deque[float]] = {}

    def exceeded(self, scope: str, stored: str, method: str, path: str) -> bool:
        rules = [r for r in json.loads(stored).get("rules", []) if _matches(r.get("match"), method, path)]
        limits = [r["rate_limit_per_second"] for r in rules if r.get("rate_limit_per_second")]
        if not limits:
            return False
        with self._lock:
            now, seen = time.monotonic(), self._seen.setdefault(scope, deque())
            while seen and seen[0] <= now - 1:
                seen.popleft()
            if len(seen) >= min(limits):
                return True
            seen.append(now)
            return False


def _write(db: sqlite3.Connection, scope: str, current: Json) -> None:
    db.execute("UPDATE accounts SET misbehaviour = ? WHERE scope = ?", (json.dumps(current), scope))


def _matches(match: str | None, method: str, path: str) -> bool:
    call = f"{method} {path}"
    return match is None or call == match or (match.endswith("*") and call.startswith(match[:-1]))


def _count_down(counts: Json, name: str) -> bool:
    if counts.get(name, 0) <= 0:
        return False
    counts[name] -= 1
    return True


def _validate_rule(rule: Json) -> None:
    webhooks = rule.get("webhooks", {})
    if not isinstance(webhooks, dict):
        raise ValueError("webhooks must be an object")
    unknown = sorted({*rule} - _KNOWN) + sorted(f"webhooks.{n}" for n in {*webhooks} - _KNOWN_OF_WEBHOOKS)
    if unknown:
        raise ValueError(f"unknown: {', '.join(unknown)}")
    for name, value in {**rule, **webhooks}.items():
        if name in {"match", "webhooks"}:
            continue
        if not _is_amount(value, name):
            raise ValueError(
                f"{name} must be {'true or false' if name == 'reorder' else 'a number, 0 or more'}"
            )
    if not isinstance(rule.get("match", ""), str):
        raise ValueError("match must be a method and a path, such as POST /v1/checkout/sessions")


def _is_amount(value: Any, name: str) -> bool:
    if name == "reorder":
        return isinstance(value, bool)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return value >= 0 and (
        isinstance(value, int) or name in {"hang_seconds", "delay_seconds", "rate_limit_per_second"}
    )
