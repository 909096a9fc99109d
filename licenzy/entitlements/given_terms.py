"""A version of a product's terms as holders are given it, and which entitlements need it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, func, or_

from licenzy.catalog.models import Product, ProductTerms
from licenzy.catalog.rules import terms_for_holders
from licenzy.db.upsert import table_of
from licenzy.entitlements.changed_terms import TERMS
from licenzy.entitlements.models import NO_ENTITLEMENT, Entitlement, State


@dataclass(frozen=True, slots=True)
class GivenTerms:
    """The terms that holders of a product are given."""

    product_code: str
    version: int
    terms: Mapping[str, Any]
    replaces: Sequence[str]
    """The keys that any version of the product has, of those that holders can be given."""
    same: Sequence[int]
    """The versions that give holders just the same."""

    @classmethod
    def of(
        cls, product: Product, versions: Sequence[ProductTerms], *, version: int, terms: Mapping[str, Any]
    ) -> GivenTerms:
        """A version with these terms, which need not be among `versions` yet."""
        wanted = terms_for_holders(terms)
        known = [terms_for_holders(each.terms) for each in versions]
        replaces = sorted({*wanted}.union(*known))
        same = [each.version for each, given in zip(versions, known, strict=True) if given == wanted]
        return cls(product.product_code, version, wanted, replaces, same)

    def fact_data(self, *, actor_user_id: str | None) -> dict[str, Any]:
        """What the fact says by which a purchase gets them."""
        return {
            "action": TERMS,
            "product_code": self.product_code,
            "version": self.version,
            "terms": dict(self.terms),
            "replaces": list(self.replaces),
            "actor": actor_user_id,
            "note": "",
        }

    def needed(self, now: datetime) -> ColumnElement[bool]:
        """Whether an entitlement of the product is on other terms, and not over for good.

        What everybody has of a default product is no entitlement. `now` is the account's time.
        """
        columns = table_of(Entitlement).c
        is_over = (columns.ends_as == "expired") & columns.ends_at.is_not(None) & (columns.ends_at <= now)
        is_other = or_(columns.terms_version.is_(None), columns.terms_version.not_in(self.same))
        is_held = columns.source.not_in(NO_ENTITLEMENT) & (columns.state != State.CANCELED)
        return is_held & is_other & func.coalesce(~is_over, True)
