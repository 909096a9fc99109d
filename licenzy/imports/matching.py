"""Whose a purchase is, by what the merchant named: the first that answers wins."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from licenzy.catalog.models import Kind
from licenzy.imports.csv_files import MapLine
from licenzy.imports.models import ImportOutcome
from licenzy.subjects.rules import ref_problem


class Match(NamedTuple):
    """What the import makes of a purchase, and why."""

    outcome: ImportOutcome
    reason: str | None = None
    subject_ref: str | None = None
    matched_by: str | None = None
    candidates: Sequence[str] = ()
    used: Mapping[str, int] = {}


class Matchable(Protocol):
    """What matching looks at of a purchase."""

    key: str
    is_over: bool
    stripe_customer_id: str | None
    email: str | None
    items: list[dict[str, Any]]
    named: dict[str, Any]
    chosen: bool
    subject_ref: str | None
    used: dict[str, int]


class MapLines:
    """The lines of the merchant's CSV by what they name."""

    def __init__(self, lines: Iterable[MapLine] = ()) -> None:
        self._by_subscription: dict[str, list[MapLine]] = {}
        self._by_customer: dict[str, list[MapLine]] = {}
        self._by_email: dict[str, list[MapLine]] = {}
        for line in lines:
            if line.stripe_subscription_id is not None:
                self._by_subscription.setdefault(line.stripe_subscription_id, []).append(line)
            elif line.stripe_customer_id is not None:
                self._by_customer.setdefault(line.stripe_customer_id, []).append(line)
            elif line.email is not None:
                self._by_email.setdefault(line.email, []).append(line)

    def about(self, row: Matchable) -> tuple[str, Sequence[MapLine]]:
        """The lines that name a purchase, and by what they do: the surest that any line has."""
        customer, email = row.stripe_customer_id, (row.email or "").lower()
        for matched_by, lines in (
            ("csv_subscription", self._by_subscription.get(row.key, ())),
            ("csv_customer", self._by_customer.get(customer or "", ())),
            ("csv_email", self._by_email.get(email, ())),
        ):
            if lines:
                return matched_by, lines
        return "", ()


@dataclass(frozen=True, slots=True)
class KnownPurchases:
    """What the database knows of some purchases at the account."""

    here: Collection[str] = frozenset()
    """Those of the purchases that belong to somebody here."""
    opened_here: Collection[str] = frozenset()
    """The sessions of theirs that are of checkout attempts of this project's."""
    kinds: Mapping[str, Kind] = field(default_factory=dict)
    """The kind of the product of each Stripe price that is one's."""
    linked: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """The refs of the subjects that are a Stripe customer, by its id."""
    by_email: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """The refs of the subjects with an e-mail address, which is in lower case."""
    shared_emails: Collection[str] = frozenset()
    """The e-mail addresses that more than one Stripe customer of the account has."""
    project_id: str = ""


def match(
    row: Matchable, lines: MapLines, keys: Sequence[str], known: KnownPurchases, *, with_ended: bool
) -> Match:
    """What the import makes of a purchase. `keys` are the metadata keys that the merchant named."""
    if row.key in known.here:
        return Match(ImportOutcome.HERE_ALREADY)
    if row.is_over and not with_ended:
        return Match(ImportOutcome.ENDED)
    if not row.items:
        return Match(ImportOutcome.UNMATCHED, "unread")
    if not any(is_sold(item["price"], row.key, known.kinds) for item in row.items):
        return Match(ImportOutcome.PRICE_NOT_MAPPED)
    if _project_named(row) not in {None, known.project_id}:
        return Match(ImportOutcome.UNMATCHED, "other_project")
    if (row.named.get("session") or row.key) in known.opened_here:
        return Match(ImportOutcome.UNMATCHED, "own_checkout")
    if row.chosen:
        return Match(ImportOutcome.MATCHED, None, row.subject_ref, "person", used=row.used)
    return _by_csv(row, lines, known) or _by_names(row, keys, known)


def _project_named(row: Matchable) -> str | None:
    """The project of Licenzy’s that sold a purchase, by its metadata."""
    name: str | None = (row.named.get("subscription") or {}).get("licenzy_project")
    return name


def is_sold(price_id: str, key: str, kinds: Mapping[str, Kind]) -> bool:
    """Whether a price is that of a product which the purchase can grant."""
    kind = kinds.get(price_id)
    return kind is not None and (kind is Kind.SUBSCRIPTION) is key.startswith("sub_")


def _by_csv(row: Matchable, lines: MapLines, known: KnownPurchases) -> Match | None:
    matched_by, found = lines.about(row)
    if not found:
        return None
    refs = list(dict.fromkeys(line.subject_ref for line in found))
    used: dict[str, int] = {}
    for line in found:
        if line.used_units:
            used[line.unit] = used.get(line.unit, 0) + line.used_units
    if len(refs) > 1:
        return Match(ImportOutcome.AMBIGUOUS, "csv_disagrees", candidates=refs)
    if matched_by == "csv_email":
        is_shared = (row.email or "").lower() in known.shared_emails
        reason = "email_twice" if is_shared else "email_only"
        return Match(ImportOutcome.AMBIGUOUS, reason, candidates=refs, used=used)
    return Match(ImportOutcome.MATCHED, None, refs[0], matched_by, used=used)


def _by_names(row: Matchable, keys: Sequence[str], known: KnownPurchases) -> Match:
    for matched_by, ref in _named(row, keys):
        if ref_problem(ref) is not None:
            return Match(ImportOutcome.UNMATCHED, "ref_not_valid")
        return Match(ImportOutcome.MATCHED, None, ref, matched_by)
    linked = known.linked.get(row.stripe_customer_id or "", ())
    if len(linked) > 1:
        return Match(ImportOutcome.AMBIGUOUS, "several_linked", candidates=sorted(linked))
    if linked:
        return Match(ImportOutcome.MATCHED, None, linked[0], "linked_customer")
    proposed = known.by_email.get((row.email or "").lower(), ()) if row.email else ()
    if proposed:
        return Match(ImportOutcome.AMBIGUOUS, "email_only", candidates=sorted(proposed))
    return Match(ImportOutcome.UNMATCHED)


def _named(row: Matchable, keys: Sequence[str]) -> Iterable[tuple[str, str]]:
    """The refs that Stripe's objects name, the surest first."""
    for place in ("subscription", "customer"):
        metadata = row.named.get(place) or {}
        for key in keys:
            if metadata.get(key):
                yield f"{place}_metadata", metadata[key]
    if row.named.get("reference"):
        yield "session_reference", row.named["reference"]
