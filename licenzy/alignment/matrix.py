"""The parts of a set-up in both modes side by side, each with its last proof. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from licenzy.alignment.facts import ProjectFacts, SideFacts
from licenzy.alignment.findings import API_KEYS, CONNECTION, PRODUCTS, Finding, Part, Severity
from licenzy.alignment.modes import Mode


class CellState(StrEnum):
    """How one part stands in one mode."""

    GOOD = "good"
    NOTED = "noted"
    AT_RISK = "at_risk"
    BROKEN = "broken"
    ABSENT = "absent"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Proof:
    """What is there, what proves it, and since when; nothing at all where there is none."""

    has: str | None
    by: str = ""
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Cell:
    """One part in one mode."""

    state: CellState
    has: str
    proof: str
    at: datetime | None
    findings: int


@dataclass(frozen=True, slots=True)
class MatrixRow:
    """One part in both modes."""

    part: Part
    title: str
    page: str
    cells: Mapping[Mode, Cell]


def matrix(project: ProjectFacts, found: Mapping[Mode, Sequence[Finding]]) -> list[MatrixRow]:
    """The seven parts in the order in which a purchase passes them."""
    return [
        MatrixRow(
            part, title, page, {mode: _cell(part, project.side(mode), found[mode], describe) for mode in Mode}
        )
        for part, (title, page, describe) in _PARTS.items()
    ]


def _cell(
    part: Part, side: SideFacts, found: Sequence[Finding], describe: Callable[[SideFacts], Proof]
) -> Cell:
    proof = describe(side)
    about = [finding for finding in found if finding.part is part]
    if about:
        worst = min(about, key=lambda finding: list(Severity).index(finding.severity))
        state = _STATES[worst.severity]
    elif proof.has is None:
        state = CellState.ABSENT
    else:
        state = CellState.UNKNOWN if proof.at is None else CellState.GOOD
    return Cell(state, proof.has or "none", proof.by, proof.at, len(about))


_STATES = {
    Severity.BLOCKS: CellState.BROKEN,
    Severity.WARNS: CellState.AT_RISK,
    Severity.NOTES: CellState.NOTED,
}


def _api_key(side: SideFacts) -> Proof:
    keys = side.usable_keys
    if not keys:
        return Proof(None)
    has = keys[0].masked if len(keys) == 1 else f"{len(keys)} keys"
    used = max((key.last_used_at for key in keys if key.last_used_at), default=None)
    return Proof(has, "called" if used else "never called", used)


def _connection(side: SideFacts) -> Proof:
    connection = side.connection
    if connection is None or not connection.connected:
        return Proof(None)
    return Proof(connection.key_masked, "accepted by Stripe", connection.account_seen_at)


def _account(side: SideFacts) -> Proof:
    connection = side.connection
    if connection is None or not connection.connected:
        return Proof(None)
    if connection.account_id is None:
        return Proof("not readable with this key", "not shown by Stripe")
    name = f"{connection.account_name} · " if connection.account_name else ""
    return Proof(f"{name}{connection.account_id}", "read from Stripe", connection.account_seen_at)


def _secret(side: SideFacts) -> Proof:
    connection = side.connection
    if connection is not None and connection.fetch is not None and not connection.secret_saved_at:
        return Proof("not needed", "events are fetched", connection.fetch.fetched_at)
    if connection is None or connection.secret_saved_at is None:
        return Proof(None)
    if not connection.proven:
        return Proof(connection.secret_masked, "no event verified yet")
    return Proof(connection.secret_masked, "verified an event", connection.proven_at)


def _endpoint(side: SideFacts) -> Proof:
    connection = side.connection
    if connection is not None and connection.fetch is not None and not connection.proven:
        at = connection.fetch.fetched_at
        return Proof("none", "events are fetched" if at else "no events fetched yet", at)
    if connection is None or connection.secret_saved_at is None:
        return Proof(None)
    if not connection.reachable:
        by = "forwards events to this machine"
        return Proof("Stripe CLI", by, connection.proven_at if connection.proven else None)
    if connection.endpoints is None:
        return Proof(connection.endpoint_id or "created manually", "not checked yet")
    listed = connection.endpoints.value
    has = ", ".join(endpoint.id for endpoint in listed)
    return Proof(has or None, "listed by Stripe", connection.endpoints.at)


def _products(side: SideFacts) -> Proof:
    if not side.products:
        return Proof(None)
    codes = [product.product_code for product in side.products]
    more = f" and {len(codes) - 3} more" if len(codes) > 3 else ""
    bought = side.traffic.last_checkout_at
    changed = max(product.created_at for product in side.products)
    return Proof(", ".join(codes[:3]) + more, "checkout created" if bought else "created", bought or changed)


def _prices(side: SideFacts) -> Proof:
    prices = {price.stripe_price_id for product in side.products for price in product.selling_prices}
    if not prices:
        return Proof(None)
    read = min(product.checked_at for product in side.products if product.selling_prices)
    return Proof(f"{len(prices)} price{'' if len(prices) == 1 else 's'}", "read from Stripe", read)


_PARTS: dict[Part, tuple[str, str, Callable[[SideFacts], Proof]]] = {
    Part.API_KEY: ("API key", API_KEYS, _api_key),
    Part.CONNECTION: ("Stripe connection", CONNECTION, _connection),
    Part.ACCOUNT: ("Stripe account", CONNECTION, _account),
    Part.SECRET: ("Webhook secret", CONNECTION, _secret),
    Part.ENDPOINT: ("Webhook endpoint", CONNECTION, _endpoint),
    Part.PRODUCTS: ("Products", PRODUCTS, _products),
    Part.PRICES: ("Prices", PRODUCTS, _prices),
}
