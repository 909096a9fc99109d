"""Terms that an operator gave to those who had a product already, laid over what was sold. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from licenzy.entitlements.projected import FactLike
from licenzy.entitlements.term_versions import TermVersions
from licenzy.entitlements.windows import whole_seconds

TERMS = "terms"
"""The action of the operator facts that give a purchase other terms of a product that it bought."""


class ChangedTerms:
    """The facts of one purchase that give it other terms; of several, the one that occurred last counts.

    Each names a product, the version, its terms, and the keys that these replace: what was bought once, such
    as the units of a pack, is not among them.
    """

    def __init__(self, facts: Iterable[FactLike]) -> None:
        changes = (fact for fact in facts if fact.kind == "operator" and fact.data["action"] == TERMS)
        self._changes = sorted(changes, key=lambda each: (each.occurred_at, each.source_id))
        self._latest_first: dict[str, list[FactLike]] = {}
        for change in reversed(self._changes):
            self._latest_first.setdefault(change.data["product_code"], []).append(change)

    def over(self, sold: Mapping[str, Any], *, since: datetime | None = None) -> Mapping[str, Any]:
        """What a purchase gives that was sold on these terms, where it has had them `since` then."""
        for change in self._latest_first.get(sold["product_code"], ()):
            if since is None or change.occurred_at >= since:
                kept = {key: value for key, value in sold.items() if key not in change.data["replaces"]}
                return {**kept, **change.data["terms"], "version": change.data["version"]}
        return sold

    def versions(self) -> TermVersions[ChangedTerms]:
        """None of the changes, and then as many of them as had occurred by each of their instants."""
        instants = sorted({change.occurred_at for change in self._changes})
        return TermVersions(
            ChangedTerms(()),
            tuple(
                (
                    whole_seconds(instant),
                    ChangedTerms(change for change in self._changes if change.occurred_at <= instant),
                )
                for instant in instants
            ),
        )
