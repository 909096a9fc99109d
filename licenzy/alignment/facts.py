"""Everything a rule may know about one project and its two modes. Plain data; unknown is None."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from licenzy.alignment.modes import Mode

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Seen(Generic[T]):
    """Something that is known, and when it was seen to be so."""

    value: T
    at: datetime


@dataclass(frozen=True, slots=True)
class EndpointSeen:
    """A webhook endpoint at Stripe whose address is this connection's, as Stripe lists it."""

    id: str
    url: str
    enabled: bool
    api_version: str | None
    events: frozenset[str]
    """The types it subscribes to; `*` stands for all of them."""


FETCH_IS_FRESH = timedelta(minutes=2)
"""For so long after events were fetched they count as being fetched; polls are half a minute apart."""


@dataclass(frozen=True, slots=True)
class FetchFacts:
    """How fetching a connection's events goes, where Stripe cannot deliver them."""

    fetched_at: datetime | None = None
    """When Stripe last listed them."""
    next_at: datetime | None = None
    """When they are fetched next."""
    problem: str | None = None
    """Why the last try fetched nothing, as a sentence."""
    permission: str | None = None
    """The permission that the key lacks for it, in Stripe's name."""


@dataclass(frozen=True, slots=True)
class ConnectionFacts:
    """The Stripe connection of one mode, without its secrets."""

    id: str
    provider: str
    """`stripe` or `sandbox`."""
    key_masked: str | None
    key_saved_at: datetime | None
    account_id: str | None
    account_name: str | None
    charges_enabled: bool | None
    secret_masked: str | None
    secret_saved_at: datetime | None
    endpoint_id: str | None
    """Stripe's `we_…`, when the endpoint was set up from here."""
    proven_at: datetime | None
    """When the last event with a good signature arrived."""
    last_event_id: str | None
    account_seen_at: datetime | None = None
    locked_out: bool = False
    """Whether no encryption key of this installation opens what is stored."""
    shares_secret: bool = False
    """Whether the other mode has the same webhook signing secret saved."""
    reachable: bool = True
    """Whether Stripe can send events to our own address; a loopback address is served by its CLI."""
    wanted_events: frozenset[str] = frozenset()
    wanted_version: str = ""
    key_accepted: Seen[bool] | None = None
    missing_permissions: Seen[tuple[str, ...]] | None = None
    """What a restricted key lacks, in Stripe's names (`rak_…`)."""
    endpoints: Seen[tuple[EndpointSeen, ...]] | None = None
    fetch: FetchFacts | None = None
    """None where events are only delivered: in live mode, from the sandbox, and at a public address."""

    @property
    def connected(self) -> bool:
        return self.key_masked is not None

    @property
    def proven(self) -> bool:
        """Whether an event with a good signature arrived since the present secret was saved."""
        if self.proven_at is None or self.secret_saved_at is None:
            return False
        return self.proven_at >= self.secret_saved_at


@dataclass(frozen=True, slots=True)
class MappedPrice:
    """A Stripe price that means a product, as it was last read from Stripe."""

    stripe_price_id: str
    stripe_product_id: str
    label: str
    selling: bool
    """Whether checkouts sell at it; one that was retired still means its product."""
    livemode: bool
    sellable: bool
    """Whether the price and its Stripe product were active when last read."""
    checked_at: datetime
    unit_amount: int | None = None
    currency: str = ""
    interval: str | None = None
    interval_count: int | None = None
    missing: Seen[bool] | None = None
    """Whether the connected account has no such price."""
    in_other_mode: bool | None = None
    """For a missing price: whether the other mode's key finds it."""

    @property
    def recurring(self) -> bool:
        return self.interval is not None


@dataclass(frozen=True, slots=True)
class IncludedFacts:
    """Units of one name that a product includes."""

    unit: str
    terms: str
    """How many, how often and on which conditions, in words: different terms differ in them."""


@dataclass(frozen=True, slots=True)
class ProductFacts:
    """One product that is sold, with all of its prices."""

    id: str
    product_code: str
    kind: str
    created_at: datetime
    prices: tuple[MappedPrice, ...] = ()
    """Oldest first, retired ones included."""
    unit: str | None = None
    """What a usage pack consists of."""
    units: int | None = None
    duration_seconds: int | None = None
    included: tuple[IncludedFacts, ...] = ()
    limits: Mapping[str, int | None] = field(default_factory=dict)
    """None is unlimited."""
    adds: bool = False
    """Whether the limits come on top of those of other products."""
    is_default: bool = False
    """Whether everybody has it who has nothing else."""
    grants_access: bool = False

    @property
    def selling_prices(self) -> tuple[MappedPrice, ...]:
        """The prices that checkouts sell at."""
        return tuple(price for price in self.prices if price.selling)

    @property
    def checked_at(self) -> datetime:
        """When Stripe was last read for all that is sold of it."""
        return min((price.checked_at for price in self.selling_prices), default=self.created_at)


@dataclass(frozen=True, slots=True)
class KeyFacts:
    """One API key, revoked and expired ones included."""

    id: str
    name: str
    masked: str
    created_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None = None
    expired: bool = False
    for_backends: bool = True
    """Whether its scopes let a backend make every call of the runtime API."""
    checks_access: bool = True

    @property
    def alive(self) -> bool:
        return self.revoked_at is None and not self.expired

    @property
    def usable(self) -> bool:
        """Whether a backend can work with it."""
        return self.alive and self.for_backends


@dataclass(frozen=True, slots=True)
class SightingFacts:
    """Something that requests did in the last seven days: whom or what it is about, how often, until when."""

    about: str
    times: int
    last_at: datetime
    detail: str = ""
    """The last one's own words: the price id sent, the origin, the product code."""


@dataclass(frozen=True, slots=True)
class EventSeen:
    """A Stripe event of the last seven days that something is to be said about."""

    event_id: str
    received_at: datetime
    note: str = ""


@dataclass(frozen=True, slots=True)
class UnmappedPrice:
    """A price that no product had when known customers' subscriptions were last read, and that they hold."""

    stripe_price_id: str
    stripe_product_id: str | None
    subscriptions: int
    """How many of them are not over."""
    seen_at: datetime
    """When the first of them was seen to hold it."""


@dataclass(frozen=True, slots=True)
class UntrackedFacts:
    """What was bought past Licenzy in the last seven days and waits for somebody to adopt it."""

    checkouts: int = 0
    """A checkout that began a subscription is one of them."""
    subscriptions: int = 0
    """Those that no known checkout began."""
    last_at: datetime | None = None
    """When the last of them was kept; none where there are none."""


@dataclass(frozen=True, slots=True)
class SubscriptionsOutside:
    """Live subscriptions at prices of products that count for nobody here, whenever they began."""

    count: int = 0
    last_at: datetime | None = None
    """When the last of them was kept; none where there are none."""


@dataclass(frozen=True, slots=True)
class OutboundFacts:
    """One of the merchant's own webhook endpoints that deliveries do not reach."""

    id: str
    url: str
    failing_since: datetime
    last_error: str = ""
    """What the last failed delivery met, as a sentence."""


@dataclass(frozen=True, slots=True)
class NewSubjects:
    """Subjects that came for units of the default product in the 24 hours that ended a day ago."""

    count: int
    """Of a day with more than can be read, the last of them."""
    gone: int
    """How many of them used nothing after their first hour, and bought nothing."""
    examples: tuple[str, ...] = ()
    """The `subject_ref` of some who are gone."""
    last_at: datetime | None = None
    """When the last of them was new."""


@dataclass(frozen=True, slots=True)
class TrafficFacts:
    """What happened on one side in the last seven days."""

    price_ids_sent: tuple[SightingFacts, ...] = ()
    """About an API key: a Stripe price id came as product code; the detail is that id."""
    other_mode_products: tuple[SightingFacts, ...] = ()
    """About a product code that only the other mode has."""
    browser_calls: tuple[SightingFacts, ...] = ()
    """About an API key: a call had an `Origin` header, which is the detail."""
    revoked_key_calls: tuple[SightingFacts, ...] = ()
    signature_failures: tuple[SightingFacts, ...] = ()
    """About whose secret signed it: `other_mode`, `previous`, `stripe_key` or `unknown`."""
    ambiguous_signatures: tuple[SightingFacts, ...] = ()
    credentials_refused: tuple[SightingFacts, ...] = ()
    """About the reason word of a pasted credential that was not saved; the detail is the field's name."""
    untracked: UntrackedFacts = field(default_factory=UntrackedFacts)
    outside: SubscriptionsOutside = field(default_factory=SubscriptionsOutside)
    wrong_mode_events: tuple[EventSeen, ...] = ()
    wrong_account_events: tuple[EventSeen, ...] = ()
    """The last one of each account that is not the connection's."""
    unmapped_lines: tuple[EventSeen, ...] = ()
    """The last session that sold the same prices without a product beside what it was opened for."""
    thin_events: tuple[EventSeen, ...] = ()
    unmapped_prices: tuple[UnmappedPrice, ...] = ()
    unknown_statuses: tuple[EventSeen, ...] = ()
    unapplied_events: tuple[EventSeen, ...] = ()
    unreadable_objects: tuple[SightingFacts, ...] = ()
    """About a Stripe object that could not be read again; the detail is why."""
    unheard_payments: Seen[tuple[str, ...]] | None = None
    """Attempts whose session Stripe shows as paid while its event has not arrived."""
    failing_endpoints: tuple[OutboundFacts, ...] = ()
    new_subjects: NewSubjects | None = None
    """None where the default product includes no units."""
    checkouts: Mapping[str, datetime] = field(default_factory=dict)
    """By product code, when a checkout for it was last opened."""

    @property
    def last_checkout_at(self) -> datetime | None:
        return max(self.checkouts.values(), default=None)


@dataclass(frozen=True, slots=True)
class SideFacts:
    """One mode of a project."""

    mode: Mode
    connection: ConnectionFacts | None = None
    products: tuple[ProductFacts, ...] = ()
    keys: tuple[KeyFacts, ...] = ()
    traffic: TrafficFacts = field(default_factory=TrafficFacts)
    resolved: Mapping[str, datetime] = field(default_factory=dict)
    """When findings about traffic were marked as fixed, by code."""
    probed_at: datetime | None = None
    """When Stripe was last asked about this side."""
    probe_due_at: datetime | None = None
    """Since when Stripe is to be asked, because something was saved or an hour has passed."""
    probe_problem: str | None = None
    """Why it could not be asked the last time."""

    @property
    def exists(self) -> bool:
        """Whether anything was ever set up in this mode."""
        begun = self.connection is not None and (
            self.connection.connected or self.connection.secret_saved_at is not None
        )
        return begun or bool(self.products) or bool(self.keys)

    @property
    def usable_keys(self) -> tuple[KeyFacts, ...]:
        return tuple(key for key in self.keys if key.usable)


@dataclass(frozen=True, slots=True)
class ProjectFacts:
    """Both modes of a project at one instant."""

    now: datetime
    test: SideFacts
    live: SideFacts

    def side(self, mode: Mode) -> SideFacts:
        return self.live if mode is Mode.LIVE else self.test
