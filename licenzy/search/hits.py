"""What searches give: hits under headings."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from licenzy.catalog.models import Product
from licenzy.subjects.models import Subject

MOST_SHOWN = 10
"""How many hits of one group a search gives."""


class HitGroup(StrEnum):
    """Under which heading a hit is shown, in the order of the headings."""

    CUSTOMERS = "customers"
    ATTEMPTS = "attempts"
    STRIPE_EVENTS = "stripe_events"
    EVENTS_ABOUT = "events_about"
    UNTRACKED = "untracked"
    PRODUCTS = "products"
    ENDPOINTS = "endpoints"
    DELIVERIES = "deliveries"
    API_KEYS = "api_keys"
    REFUSALS = "refusals"


@dataclass(frozen=True, slots=True)
class Hit:
    """One record that was found."""

    group: HitGroup
    id: str
    """Of the record whose page shows it: for an attempt its customer, for EVENTS_ABOUT the object, for a
    refused call its API key."""
    title: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Results:
    """What a search found on its side."""

    hits: list[Hit] = field(default_factory=list)
    more_customers: bool = False
    """Whether more customers match than are given."""
    elsewhere: list[Hit] = field(default_factory=list)
    """What is named exactly so in the project's other mode, where nothing in this one is."""

    def of(self, group: HitGroup) -> list[Hit]:
        """The hits of one group, the best first."""
        return [hit for hit in self.hits if hit.group is group]


def customer_hit(subject: Subject) -> Hit:
    return Hit(HitGroup.CUSTOMERS, subject.id, subject.subject_ref, subject.email or "")


def product_hit(product: Product) -> Hit:
    archived = "" if product.archived_at is None else ", archived"
    return Hit(HitGroup.PRODUCTS, product.id, product.product_code, f"{product.stripe_name}{archived}")
