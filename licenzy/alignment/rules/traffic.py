"""Rules about the requests and events of the last seven days."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

from licenzy.alignment.facts import EventSeen, SightingFacts, UnmappedPrice
from licenzy.alignment.findings import (
    CONNECTION,
    CUSTOMERS,
    EVENTS,
    IMPORTS,
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
_MANY_SUBJECTS = 100
_LEAST_GONE = 0.9
"""Of people who try something for free, three of four do not come back the next day: that is no fault."""
_SHOWN_OF_REF = 40


@rule("price_id_sent", "Stripe price ID sent as product code", _WARNS, Part.TRAFFIC, resolvable=True)
def price_id_sent(context: RuleContext) -> Iterator[FindingDraft]:
    """Resolved by the next checkout that is created."""
    by_id = {key.id: key for key in context.here.keys}
    codes = {
        price.stripe_price_id: product.product_code
        for product in context.here.products
        for price in product.prices
    }
    opened = context.here.traffic.last_checkout_at
    for seen in context.here.traffic.price_ids_sent:
        key = by_id.get(seen.about)
        if key is None or (opened is not None and opened > seen.last_at):
            continue
        code = codes.get(seen.detail)
        yield FindingDraft(
            about=(ObjectRef("api_key", key.id, key.name), ObjectRef("price", seen.detail, seen.detail)),
            evidence=f"{key.masked} requested {seen.detail} {_times(seen)}.",
            cause="Licenzy sells products by their code. Stripe price IDs are refused.",
            fix=f"Send {code} instead of the price ID."
            if code
            else "Map the price to a product and send the product's code.",
            page=PRODUCTS,
            at=seen.last_at,
        )


@rule(
    "product_of_other_mode_asked",
    "Product from the other mode requested",
    _WARNS,
    Part.TRAFFIC,
    resolvable=True,
)
def product_of_other_mode_asked(context: RuleContext) -> Iterator[FindingDraft]:
    """Resolved when the product exists here, or is bought with the other mode's key."""
    here = {product.product_code for product in context.here.products}
    for seen in context.here.traffic.other_mode_products:
        bought_there = context.other.traffic.checkouts.get(seen.about)
        if seen.about in here or (bought_there is not None and bought_there > seen.last_at):
            continue
        mode, other = context.here.mode, context.other.mode
        yield FindingDraft(
            about=(ObjectRef("product", "", seen.about),),
            evidence=f"An lz_{mode}_ key requested {seen.about} {_times(seen)}.",
            cause=f"{seen.about} exists only in {other} mode, and the API key decides the mode.",
            fix=f"Create {seen.about} in {mode} mode too, or call with an lz_{other}_ key.",
            page=PRODUCTS,
            at=seen.last_at,
        )


@rule("untracked_checkout", "Untracked purchases", _WARNS, Part.TRAFFIC, resolvable=True)
def untracked_checkout(context: RuleContext) -> Iterator[FindingDraft]:
    seen = context.here.traffic.untracked
    counted = [
        _counted(seen.checkouts, "checkout", "completed"),
        _counted(seen.subscriptions, "subscription", "began"),
    ]
    if seen.last_at is not None:
        yield FindingDraft(
            about=(),
            evidence=f"{' and '.join(filter(None, counted))} outside Licenzy.",
            cause="What is sold directly in Stripe names no subject, so it grants nothing.",
            fix="Create checkouts with POST /v1/checkout/session, and assign what was paid to its subject.",
            page=UNTRACKED,
            at=seen.last_at,
        )


@rule("subscriptions_outside", "Subscriptions outside Licenzy", _WARNS, Part.TRAFFIC)
def subscriptions_outside(context: RuleContext) -> Iterator[FindingDraft]:
    """Ends once each is assigned, has ended, or has no product's price."""
    outside = context.here.traffic.outside
    if outside.last_at is not None:
        one = outside.count == 1
        yield FindingDraft(
            about=(),
            evidence=f"{outside.count} live subscription{' has' if one else 's have'} a product's price and "
            f"{'belongs' if one else 'belong'} to no subject.",
            cause="They were sold without Licenzy. Their buyers pay, and access checks refuse them.",
            fix="Import them on the page Import, or assign single ones on the page Untracked purchases.",
            page=IMPORTS,
            at=outside.last_at,
        )


def _counted(number: int, noun: str, verb: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'} {verb}" if number else ""


@rule("event_of_other_mode", "Events from the other mode", _WARNS, Part.TRAFFIC, resolvable=True)
def event_of_other_mode(context: RuleContext) -> Iterator[FindingDraft]:
    """Resolved when a signing secret is saved after the last of them."""
    events = _since_secret_saved(context, context.here.traffic.wrong_mode_events)
    if events:
        yield _of_events(
            events,
            f"{len(events)} event{'' if len(events) == 1 else 's'} from {context.other.mode} mode arrived at "
            f"the {context.here.mode} mode address.",
            f"The endpoint was created in {context.other.mode} mode in Stripe, so no {context.here.mode} "
            "mode purchase is reported.",
            f"Set up the webhook again. The endpoint must be created in {context.here.mode} mode.",
            page=CONNECTION,
        )


@rule("event_of_other_account", "Events from another Stripe account", _WARNS, Part.TRAFFIC, resolvable=True)
def event_of_other_account(context: RuleContext) -> Iterator[FindingDraft]:
    """Resolved when a signing secret is saved after the last of them."""
    events = _since_secret_saved(context, context.here.traffic.wrong_account_events)
    if events:
        yield FindingDraft(
            about=tuple(ObjectRef("event", event.event_id, event.event_id) for event in events[:5]),
            evidence=f"{events[0].note} {_more(len(events) - 1, 'account')}".rstrip(),
            cause="The endpoint in Stripe also listens to events of connected accounts. They are stored and "
            "never applied.",
            fix="In Stripe, set the endpoint to listen to events on your account only.",
            page=EVENTS,
            at=max(event.received_at for event in events),
        )


@rule("thin_events_received", "Thin events received", _WARNS, Part.TRAFFIC, resolvable=True)
def thin_events_received(context: RuleContext) -> Iterator[FindingDraft]:
    """Resolved when a signing secret is saved after the last of them."""
    events = _since_secret_saved(context, context.here.traffic.thin_events)
    if events:
        yield _of_events(
            events,
            f"{len(events)} thin event{'' if len(events) == 1 else 's'} arrived and could not be used.",
            "The event destination in Stripe sends thin events. They name an object without its content.",
            "In Stripe, replace the destination by one with the payload style Snapshot, or set up the "
            "webhook again.",
            page=CONNECTION,
        )


@rule("paid_without_event", "Paid checkout without a webhook event", _WARNS, Part.TRAFFIC)
def paid_without_event(context: RuleContext) -> Iterator[FindingDraft]:
    unheard = context.here.traffic.unheard_payments
    if unheard is not None and unheard.value:
        yield FindingDraft(
            about=tuple(ObjectRef("attempt", attempt, attempt) for attempt in unheard.value),
            evidence=f"Stripe shows {', '.join(unheard.value[:3])} as paid. Here the checkout is still open.",
            cause="Stripe's event did not arrive. The buyer has paid and has no access yet.",
            fix="Compare with Stripe to fetch what was missed, then check the webhook on the Stripe "
            "connection page.",
            page=RECONCILIATION,
            at=unheard.at,
        )


@rule("price_not_mapped", "Subscription price without a product", _WARNS, Part.TRAFFIC)
def price_not_mapped(context: RuleContext) -> Iterator[FindingDraft]:
    """Ends once the price is mapped and the subscriptions are read again, or hold another one."""
    owners = {price.stripe_price_id: product for product in context.here.products for price in product.prices}
    for unmapped in context.here.traffic.unmapped_prices:
        price, count = unmapped.stripe_price_id, unmapped.subscriptions
        owner = owners.get(price)
        yield FindingDraft(
            about=(ObjectRef("price", price, price),),
            evidence=f"{count} subscription{' holds' if count == 1 else 's hold'} {price}.",
            cause="A customer's subscription was changed in Stripe to a price without a product. The price "
            "gives no access of its own."
            if owner is None
            else f"{price} is mapped to {owner.product_code} now. The subscriptions that hold it are being "
            "read from Stripe again.",
            fix=f"Map {price} to a product. The subscriptions that hold it are then read again."
            if owner is None
            else "Wait until they have been read. If this stays, check that `licenzy worker` runs.",
            page=f"{PRODUCTS}/{owner.id}" if owner is not None else _mapping_page(context, unmapped),
            at=unmapped.seen_at,
        )


def _mapping_page(context: RuleContext, unmapped: UnmappedPrice) -> str:
    """Where the price is mapped in one click.

    That is the product that all prices of its Stripe product mean, else the form of a new one.
    """
    meant = {
        product.id
        for product in context.here.products
        for price in product.prices
        if price.stripe_product_id == unmapped.stripe_product_id
    }
    chosen = quote(unmapped.stripe_price_id, safe="")
    if len(meant) == 1:
        return f"{PRODUCTS}/{meant.pop()}?add={chosen}#add-price"
    return f"{PRODUCTS}/new?price_id={chosen}"


@rule("bought_without_product", "Bought item without a product", _WARNS, Part.TRAFFIC, resolvable=True)
def bought_without_product(context: RuleContext) -> Iterator[FindingDraft]:
    """Resolved when every price that the event names is mapped."""
    mapped = {price.stripe_price_id for product in context.here.products for price in product.prices}
    for event in context.here.traffic.unmapped_lines:
        missing = [price for price in _prices_named(event) if price not in mapped]
        if missing:
            yield _of_events(
                (event,),
                event.note,
                "The buyer added an item to the checkout in Stripe. No product is mapped to its price, so it "
                "grants nothing.",
                f"Map a product to {', '.join(missing)}, then replay the event.",
                page=PRODUCTS,
            )


@rule("unknown_subscription_status", "Unknown subscription status", _WARNS, Part.TRAFFIC, resolvable=True)
def unknown_subscription_status(context: RuleContext) -> Iterator[FindingDraft]:
    events = context.here.traffic.unknown_statuses
    if events:
        yield _of_events(
            events,
            events[0].note,
            "This version of Licenzy does not know the status. The last known state stays.",
            "Update Licenzy, then replay the event.",
        )


@rule("event_not_applied", "Stripe events not applied", _WARNS, Part.TRAFFIC)
def event_not_applied(context: RuleContext) -> Iterator[FindingDraft]:
    events = context.here.traffic.unapplied_events
    if events:
        yield _of_events(
            events,
            f"{len(events)} event{'' if len(events) == 1 else 's'} not applied yet.",
            "The events are stored and retried automatically. Each one shows its error.",
            "Open the event and check its error.",
        )


@rule("stripe_object_unreadable", "Stripe object not readable", _NOTES, Part.TRAFFIC)
def stripe_object_unreadable(context: RuleContext) -> Iterator[FindingDraft]:
    objects = context.here.traffic.unreadable_objects
    if objects:
        yield FindingDraft(
            about=tuple(ObjectRef("stripe_object", seen.about, seen.about) for seen in objects),
            evidence=f"{objects[0].about}: {objects[0].detail}",
            cause="Licenzy reads the object from Stripe after each event, and that read failed. The state "
            "from the events stays.",
            fix="Check the Stripe key and its permissions. The read is retried automatically.",
            page=CONNECTION,
            at=max(seen.last_at for seen in objects),
        )


@rule("outbound_endpoint_failing", "Webhook deliveries failing", _WARNS, Part.TRAFFIC)
def outbound_endpoint_failing(context: RuleContext) -> Iterator[FindingDraft]:
    for endpoint in context.here.traffic.failing_endpoints:
        yield FindingDraft(
            about=(ObjectRef("endpoint", endpoint.id, endpoint.url),),
            evidence=f"{endpoint.last_error} No delivery has succeeded since "
            f"{endpoint.failing_since:%Y-%m-%d %H:%M} UTC.".lstrip(),
            cause="Your systems do not receive changes of access while deliveries to this endpoint fail.",
            fix="Fix the endpoint, and enable it again if it is disabled. Waiting deliveries are retried.",
            page=WEBHOOKS,
            at=endpoint.failing_since,
        )


@rule("many_new_subjects", "New subjects that never come back", _WARNS, Part.TRAFFIC, resolvable=True)
def many_new_subjects(context: RuleContext) -> Iterator[FindingDraft]:
    """Ends when the subjects of a later day are fewer, or come back."""
    seen = context.here.traffic.new_subjects
    default = next((product for product in context.here.products if product.is_default), None)
    if seen is None or default is None:
        return
    if seen.count < _MANY_SUBJECTS or seen.gone < seen.count * _LEAST_GONE:
        return
    yield FindingDraft(
        about=(ObjectRef("product", default.id, default.product_code),),
        evidence=f"Of {seen.count:,} new subjects in 24 hours, {seen.gone:,} used nothing after their first "
        f"hour, such as {', '.join(map(_clipped, seen.examples))}.",
        cause=f"Every new subject_ref gets the units of {default.product_code}. A random ID, or a new one "
        "for each request or session, gets them again and again. Each one is stored as a customer.",
        fix="Send the permanent ID of the user or account in your own database as subject_ref. Compare it "
        "with the newest customers.",
        page=CUSTOMERS,
        at=seen.last_at,
    )


def _clipped(ref: str) -> str:
    return ref if len(ref) <= _SHOWN_OF_REF else f"{ref[:_SHOWN_OF_REF]}…"


def _since_secret_saved(context: RuleContext, events: tuple[EventSeen, ...]) -> tuple[EventSeen, ...]:
    """Those that arrived after the signing secret was saved: saving one answers all before it."""
    connection = context.here.connection
    saved = connection.secret_saved_at if connection else None
    return tuple(event for event in events if saved is None or event.received_at > saved)


def _prices_named(event: EventSeen) -> list[str]:
    """The prices that the note of an event lists after its colon: ids of any form, as old plans have them."""
    return [word.strip(".,") for word in event.note.partition(": ")[2].split()]


def _more(others: int, noun: str) -> str:
    return f"Events of {others} more {noun}{'' if others == 1 else 's'} arrived." if others else ""


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
