"""Rules about what was asked for and what arrived in the last seven days."""

from __future__ import annotations

from collections.abc import Iterator

from licenzy.alignment.facts import EventSeen, Sighting
from licenzy.alignment.findings import (
    CONNECTION,
    EVENTS,
    PRODUCTS,
    RECONCILIATION,
    UNTRACKED,
    WEBHOOKS,
    About,
    Look,
    Part,
    Severity,
    Spotted,
    rule,
)

_WARNS, _NOTES = Severity.WARNS, Severity.NOTES


@rule("price_id_sent", "A Stripe price id is sent as product code", _WARNS, Part.TRAFFIC, mendable=True)
def price_id_sent(look: Look) -> Iterator[Spotted]:
    """Mended by the next checkout that is opened."""
    by_id = {key.id: key for key in look.here.keys}
    codes = {product.stripe_price_id: product.product_code for product in look.here.products}
    opened = look.here.traffic.last_checkout_at
    for seen in look.here.traffic.price_ids_sent:
        key = by_id.get(seen.about)
        if key is None or (opened is not None and opened > seen.last_at):
            continue
        code = codes.get(seen.detail)
        yield Spotted(
            about=(About("api_key", key.id, key.name), About("price", seen.detail, seen.detail)),
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
    mendable=True,
)
def product_of_other_mode_asked(look: Look) -> Iterator[Spotted]:
    """Mended when the product exists here, or is bought with the other mode's key."""
    here = {product.product_code for product in look.here.products}
    for seen in look.here.traffic.other_mode_products:
        bought_there = look.other.traffic.checkouts.get(seen.about)
        if seen.about in here or (bought_there is not None and bought_there > seen.last_at):
            continue
        mode, other = look.here.mode, look.other.mode
        yield Spotted(
            about=(About("product", "", seen.about),),
            evidence=f"An lz_{mode}_ key asked for {seen.about}, {_times(seen)}.",
            cause=f"{seen.about} exists in {other} only, and the API key decides the mode.",
            fix=f"Make {seen.about} in {mode} too, or call with an lz_{other}_ key.",
            page=PRODUCTS,
            at=seen.last_at,
        )


@rule("untracked_checkout", "Stripe Checkout was called directly", _WARNS, Part.TRAFFIC, mendable=True)
def untracked_checkout(look: Look) -> Iterator[Spotted]:
    events = look.here.traffic.untracked_checkouts
    if events:
        yield _of_events(
            events,
            f"{len(events)} completed checkout{'' if len(events) == 1 else 's'} that Licenzy did not open.",
            "A session made at Stripe by itself names no subject of yours, so it grants nothing.",
            "Open checkouts with POST /v1/checkout/session, and adopt those already paid onto their subject.",
            page=UNTRACKED,
        )


@rule("event_of_other_mode", "Events of the other mode arrive", _WARNS, Part.TRAFFIC, mendable=True)
def event_of_other_mode(look: Look) -> Iterator[Spotted]:
    """Mended when a signing secret is saved after the last of them."""
    connection = look.here.connection
    saved = connection.secret_saved_at if connection else None
    events = [e for e in look.here.traffic.wrong_mode_events if saved is None or e.received_at > saved]
    if events:
        yield _of_events(
            tuple(events),
            f"{len(events)} event{'' if len(events) == 1 else 's'} of {look.other.mode} came to the address "
            f"of {look.here.mode}, with its secret.",
            f"The endpoint was made in {look.other.mode} at Stripe, so purchases of {look.here.mode} are "
            "never told.",
            f"Set the webhook up again: the endpoint must be made in {look.here.mode}.",
            page=CONNECTION,
        )


@rule("paid_without_event", "A checkout was paid, and no event has told of it", _WARNS, Part.TRAFFIC)
def paid_without_event(look: Look) -> Iterator[Spotted]:
    unheard = look.here.traffic.unheard_payments
    if unheard is not None and unheard.value:
        yield Spotted(
            about=tuple(About("attempt", attempt, attempt) for attempt in unheard.value),
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
    mendable=True,
)
def unmapped_price(look: Look) -> Iterator[Spotted]:
    """Mended when every price that the event names is mapped."""
    mapped = {product.stripe_price_id for product in look.here.products}
    for event in look.here.traffic.unmapped_prices:
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


@rule("unknown_subscription_status", "Stripe sent an unknown status", _WARNS, Part.TRAFFIC, mendable=True)
def unknown_subscription_status(look: Look) -> Iterator[Spotted]:
    events = look.here.traffic.unknown_statuses
    if events:
        yield _of_events(
            events,
            events[0].note,
            "Stripe uses a word for a subscription's state that this version does not know.",
            "The last known state stands. Update Licenzy, then replay the event.",
        )


@rule("event_not_applied", "Events could not be applied", _WARNS, Part.TRAFFIC)
def event_not_applied(look: Look) -> Iterator[Spotted]:
    events = look.here.traffic.unapplied_events
    if events:
        yield _of_events(
            events,
            f"{len(events)} event{'' if len(events) == 1 else 's'} kept and not applied so far.",
            "They are stored safely and tried again by themselves; each says what went wrong.",
            "Open the event and read its note.",
        )


@rule("stripe_object_unreadable", "Stripe could not be asked about an object", _NOTES, Part.TRAFFIC)
def stripe_object_unreadable(look: Look) -> Iterator[Spotted]:
    objects = look.here.traffic.unreadable_objects
    if objects:
        yield Spotted(
            about=tuple(About("stripe_object", seen.about, seen.about) for seen in objects),
            evidence=f"{objects[0].about}: {objects[0].detail}",
            cause="After an event the object is read once more, and that read failed: the state that the "
            "events tell stands.",
            fix="Look at the Stripe key and its permissions; the read is tried again by itself.",
            page=CONNECTION,
            at=max(seen.last_at for seen in objects),
        )


@rule("outbound_endpoint_failing", "Your webhook endpoint does not answer", _WARNS, Part.TRAFFIC)
def outbound_endpoint_failing(look: Look) -> Iterator[Spotted]:
    for endpoint in look.here.traffic.failing_endpoints:
        yield Spotted(
            about=(About("endpoint", endpoint.id, endpoint.url),),
            evidence=endpoint.last_error or "The last deliveries failed.",
            cause=f"{endpoint.url} does not take what it is told, so your systems do not hear of changes.",
            fix="Mend the address; what is waiting is then delivered by itself.",
            page=WEBHOOKS,
            at=endpoint.failing_since,
        )


def _times(seen: Sighting) -> str:
    return "once" if seen.times == 1 else f"{seen.times} times"


def _of_events(
    events: tuple[EventSeen, ...], evidence: str, cause: str, fix: str, *, page: str = EVENTS
) -> Spotted:
    return Spotted(
        about=tuple(About("event", event.event_id, event.event_id) for event in events[:5]),
        evidence=evidence,
        cause=cause,
        fix=fix,
        page=page,
        at=max(event.received_at for event in events),
    )
