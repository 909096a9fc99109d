"""Rules about what was asked for and what arrived in the last seven days."""

from __future__ import annotations

from collections.abc import Iterator

from licenzy.alignment.facts import EventSeen, SightingFacts
from licenzy.alignment.findings import (
    CONNECTION,
    EVENTS,
    PRODUCTS,
    RECONCILIATION,
    UNTRACKED,
    WEBHOOKS,
    FindingDraft,
    ObjectRef,
    Part,
    RuleContext,
    Severity,
    rule,
)

_WARNS, _NOTES = Severity.WARNS, Severity.NOTES


@rule("price_id_sent", "A Stripe price id is sent as product code", _WARNS, Part.TRAFFIC, resolvable=True)
def price_id_sent(context: RuleContext) -> Iterator[FindingDraft]:
    """Mended by the next checkout that is opened."""
    by_id = {key.id: key for key in context.here.keys}
    codes = {product.stripe_price_id: product.product_code for product in context.here.products}
    opened = context.here.traffic.last_checkout_at
    for seen in context.here.traffic.price_ids_sent:
        key = by_id.get(seen.about)
        if key is None or (opened is not None and opened > seen.last_at):
            continue
        code = codes.get(seen.detail)
        yield FindingDraft(
            about=(ObjectRef("api_key", key.id, key.name), ObjectRef("price", seen.detail, seen.detail)),
            evidence=f"{key.masked} asked for {seen.detail}, {_times(seen)}.",
            cause="Licenzy sells product codes, which are mapped to prices; a Stripe price id is refused.",
            fix=f"Send {code} instead of the price id."
            if code
            else "Map the price to a product, and send that product's code.",
            page=PRODUCTS,
            at=seen.last_at,
        )


@rule(
    "product_of_other_mode_asked",
    "A product of the other mode is asked for",
    _WARNS,
    Part.TRAFFIC,
    resolvable=True,
)
def product_of_other_mode_asked(context: RuleContext) -> Iterator[FindingDraft]:
    """Mended when the product exists here, or is bought with the other mode's key."""
    here = {product.product_code for product in context.here.products}
    for seen in context.here.traffic.other_mode_products:
        bought_there = context.other.traffic.checkouts.get(seen.about)
        if seen.about in here or (bought_there is not None and bought_there > seen.last_at):
            continue
        mode, other = context.here.mode, context.other.mode
        yield FindingDraft(
            about=(ObjectRef("product", "", seen.about),),
            evidence=f"An lz_{mode}_ key asked for {seen.about}, {_times(seen)}.",
            cause=f"{seen.about} exists in {other} only, and the API key decides the mode.",
            fix=f"Make {seen.about} in {mode} too, or call with an lz_{other}_ key.",
            page=PRODUCTS,
            at=seen.last_at,
        )


@rule("untracked_checkout", "Stripe Checkout was called directly", _WARNS, Part.TRAFFIC, resolvable=True)
def untracked_checkout(context: RuleContext) -> Iterator[FindingDraft]:
    events = context.here.traffic.untracked_checkouts
    if events:
        yield _of_events(
            events,
            f"{len(events)} completed checkout{'' if len(events) == 1 else 's'} that Licenzy did not open.",
            "A session made at Stripe by itself names no subject of yours, so it grants nothing.",
            "Open checkouts with POST /v1/checkout/session, and adopt those already paid onto their subject.",
            page=UNTRACKED,
        )


@rule("event_of_other_mode", "Events of the other mode arrive", _WARNS, Part.TRAFFIC, resolvable=True)
def event_of_other_mode(context: RuleContext) -> Iterator[FindingDraft]:
    """Mended when a signing secret is saved after the last of them."""
    connection = context.here.connection
    saved = connection.secret_saved_at if connection else None
    events = [e for e in context.here.traffic.wrong_mode_events if saved is None or e.received_at > saved]
    if events:
        yield _of_events(
            tuple(events),
            f"{len(events)} event{'' if len(events) == 1 else 's'} from {context.other.mode} mode arrived at "
            f"the {context.here.mode} address, signed with its secret.",
            f"The endpoint was created in {context.other.mode} mode in Stripe, so no {context.here.mode} "
            "purchase is reported.",
            f"Set up the webhook again. The endpoint must be created in {context.here.mode} mode.",
            page=CONNECTION,
        )


@rule("paid_without_event", "A checkout was paid, and no event has told of it", _WARNS, Part.TRAFFIC)
def paid_without_event(context: RuleContext) -> Iterator[FindingDraft]:
    unheard = context.here.traffic.unheard_payments
    if unheard is not None and unheard.value:
        yield FindingDraft(
            about=tuple(ObjectRef("attempt", attempt, attempt) for attempt in unheard.value),
            evidence=f"Stripe shows {', '.join(unheard.value[:3])} as paid; here the checkout is still open.",
            cause="Stripe's event did not arrive, so the buyer has paid and has no access yet.",
            fix="Press “Compare with Stripe now”, which fetches what was missed; then see on the connection "
            "page why the webhook did not tell.",
            page=RECONCILIATION,
            at=unheard.at,
        )


@rule(
    "unmapped_price",
    "A subscription has a price that no product is mapped to",
    _WARNS,
    Part.TRAFFIC,
    resolvable=True,
)
def unmapped_price(context: RuleContext) -> Iterator[FindingDraft]:
    """Mended when every price that the event names is mapped."""
    mapped = {product.stripe_price_id for product in context.here.products}
    for event in context.here.traffic.unmapped_prices:
        named = [word.strip(".,") for word in event.note.split() if word.startswith(("price_", "plan_"))]
        missing = [price for price in named if price not in mapped]
        if missing:
            yield _of_events(
                (event,),
                event.note,
                "Somebody changed the subscription at Stripe to a price that Licenzy does not know, so it "
                "grants nothing for it.",
                f"Map a product to {', '.join(missing)}.",
                page=PRODUCTS,
            )


@rule("unknown_subscription_status", "Stripe sent an unknown status", _WARNS, Part.TRAFFIC, resolvable=True)
def unknown_subscription_status(context: RuleContext) -> Iterator[FindingDraft]:
    events = context.here.traffic.unknown_statuses
    if events:
        yield _of_events(
            events,
            events[0].note,
            "Stripe uses a word for a subscription's state that this version does not know.",
            "The last known state stands. Update Licenzy, then replay the event.",
        )


@rule("event_not_applied", "Events could not be applied", _WARNS, Part.TRAFFIC)
def event_not_applied(context: RuleContext) -> Iterator[FindingDraft]:
    events = context.here.traffic.unapplied_events
    if events:
        yield _of_events(
            events,
            f"{len(events)} event{'' if len(events) == 1 else 's'} kept and not applied so far.",
            "They are stored safely and tried again by themselves; each says what went wrong.",
            "Open the event and read its note.",
        )


@rule("stripe_object_unreadable", "Stripe could not be asked about an object", _NOTES, Part.TRAFFIC)
def stripe_object_unreadable(context: RuleContext) -> Iterator[FindingDraft]:
    objects = context.here.traffic.unreadable_objects
    if objects:
        yield FindingDraft(
            about=tuple(ObjectRef("stripe_object", seen.about, seen.about) for seen in objects),
            evidence=f"{objects[0].about}: {objects[0].detail}",
            cause="After an event the object is read once more, and that read failed: the state that the "
            "events tell stands.",
            fix="Look at the Stripe key and its permissions; the read is tried again by itself.",
            page=CONNECTION,
            at=max(seen.last_at for seen in objects),
        )


@rule("outbound_endpoint_failing", "Your webhook endpoint does not answer", _WARNS, Part.TRAFFIC)
def outbound_endpoint_failing(context: RuleContext) -> Iterator[FindingDraft]:
    for endpoint in context.here.traffic.failing_endpoints:
        yield FindingDraft(
            about=(ObjectRef("endpoint", endpoint.id, endpoint.url),),
            evidence=endpoint.last_error or "The last deliveries failed.",
            cause=f"{endpoint.url} does not take what it is told, so your systems do not hear of changes.",
            fix="Mend the address; what is waiting is then delivered by itself.",
            page=WEBHOOKS,
            at=endpoint.failing_since,
        )


def _times(seen: SightingFacts) -> str:
    return "once" if seen.times == 1 else f"{seen.times} times"


def _of_events(
    events: tuple[EventSeen, ...], evidence: str, cause: str, fix: str, *, page: str = EVENTS
) -> FindingDraft:
    return FindingDraft(
        about=tuple(ObjectRef("event", event.event_id, event.event_id) for event in events[:5]),
        evidence=evidence,
        cause=cause,
        fix=fix,
        page=page,
        at=max(event.received_at for event in events),
    )
