"""What may be changed about a subscription: its plan, seats and items, when it ends, and the catalog."""

from __future__ import annotations

from dataclasses import replace

from tests.properties.histories.billing import InvoiceLine
from tests.properties.histories.catalog import SAME_PRODUCT, UNKNOWN, UNKNOWN_YEARLY
from tests.properties.histories.life import DAY, MONTH, YEAR
from tests.properties.histories.payments import in_any_order, payment_fails
from tests.properties.histories.subscription import Item, Subscription

# --- plans and seats ------------------------------------------------------------------------------------


def plan_without_invoice(subscription: Subscription) -> None:
    """Another plan of the same interval; what it costs comes with the next invoice."""
    subscription.emitter.wait(DAY)
    name = _any_item(subscription)
    price = _other_price(subscription, name, unknown=_is_settled(subscription))
    subscription.life.kinds.add("a plan without an invoice")
    subscription.change(items=subscription.with_item(name, price=price))


def there_and_back(subscription: Subscription) -> None:
    """Another plan, and the one before again, after its terms were edited."""
    catalog, name = subscription.catalog, _any_item(subscription)
    before = subscription.items[name].price
    same = catalog.mapped(yearly=catalog.is_yearly(before))
    others = [price for price in same if price != before and not _is_taken(subscription, price, but=name)]
    if catalog.fixed or not others or before not in catalog.now or not _is_settled(subscription):
        return
    subscription.emitter.wait(DAY)
    subscription.change(items=subscription.with_item(name, price=subscription.chance.choice(others)))
    edit_terms(subscription)
    subscription.change(items=subscription.with_item(name, price=before))


def seats_without_invoice(subscription: Subscription) -> None:
    subscription.emitter.wait(DAY)
    name = _any_item(subscription)
    subscription.change(items=subscription.with_item(name, quantity=subscription.chance.randrange(1, 9)))


def no_seats(subscription: Subscription) -> None:
    """The quantity is 0 for a while, or for good."""
    subscription.emitter.wait(DAY)
    name = _any_item(subscription)
    subscription.life.kinds.add("quantity 0")
    subscription.change(items=subscription.with_item(name, quantity=0))


def seats_again(subscription: Subscription) -> None:
    subscription.emitter.wait(3 * DAY)
    for name, item in subscription.items.items():
        if item.quantity == 0:
            seats = subscription.chance.randrange(1, 5)
            subscription.change(items=subscription.with_item(name, quantity=seats))


def plan_with_invoice(subscription: Subscription) -> None:
    """Another plan or other seats, with an invoice of the difference that is paid or not."""
    if not _is_settled(subscription):
        return plan_without_invoice(subscription)
    subscription.emitter.wait(9 * DAY)
    name, paid = _any_item(subscription), subscription.chance.random() < 0.4
    old = subscription.items[name]
    price = _other_price(subscription, name, unknown=True)
    quantity = subscription.chance.choice((old.quantity, subscription.chance.randrange(1, 9)))
    if (price, quantity) == (old.price, old.quantity):
        quantity += 1
    now = subscription.emitter.now
    end = max(old.end, now + 1)
    credit = InvoiceLine(name, old.price, old.quantity, now, end, -300, proration=True)
    charge = InvoiceLine(name, price, quantity, now, end, 900, proration=True)
    subscription.make_invoice("subscription_update", [credit, charge])
    return _invoiced(subscription, subscription.with_item(name, price=price, quantity=quantity), paid=paid)


def other_interval(subscription: Subscription) -> None:
    """From monthly to yearly or back: a new period begins now, on an invoice of its own."""
    yearly = any(subscription.catalog.is_yearly(item.price) for item in subscription.items.values())
    prices = subscription.catalog.mapped(yearly=not yearly)
    if subscription.chance.random() < 0.3:
        prices = [UNKNOWN if yearly else UNKNOWN_YEARLY]
    if len(subscription.items) > 1 or not prices or not _is_settled(subscription):
        return plan_with_invoice(subscription)
    subscription.emitter.wait(9 * DAY)
    (name,) = subscription.items
    old, price, now = subscription.items[name], subscription.chance.choice(prices), subscription.emitter.now
    item = Item(price, old.quantity, now, now + subscription.interval(price))
    # What was paid for a year may be worth more than a month: then nothing is left to be paid.
    left = subscription.chance.choice((300, subscription.amount(old.price, old.quantity)))
    credit = InvoiceLine(name, old.price, old.quantity, now, max(old.end, now + 1), -left, proration=True)
    amount = subscription.amount(price, old.quantity)
    charge = InvoiceLine(name, price, old.quantity, item.start, item.end, amount)
    invoice = subscription.make_invoice("subscription_update", [credit, charge])
    unmapped = "an unmapped " if price not in subscription.catalog.now else "a "
    subscription.life.kinds.add(
        f"to {unmapped}{'year' if subscription.catalog.is_yearly(price) else 'month'}"
    )
    paid = not invoice.amount or subscription.chance.random() < 0.7
    return _invoiced(subscription, {name: item}, paid=paid)


def _invoiced(subscription: Subscription, items: dict[str, Item], *, paid: bool) -> None:
    subscription.life.kinds.add("a paid plan change" if paid else "an unpaid plan change")
    subscription.note_prices(items)
    bill = subscription.current_bill
    if not paid:
        subscription.change(items=items, status="past_due")
        return subscription.fail(bill)
    if subscription.chance.random() < 0.5:
        subscription.change(items=items)
        return subscription.pay(bill)
    subscription.pay(bill)
    return subscription.change(items=items)


def flurry(subscription: Subscription) -> None:
    """Two changes in one second, as a script of the merchant's makes them."""
    subscription.emitter.wait(DAY)
    name = _any_item(subscription)
    subscription.change(items=subscription.with_item(name, quantity=subscription.chance.randrange(1, 9)))
    price = _other_price(subscription, name, unknown=_is_settled(subscription))
    subscription.change(items=subscription.with_item(name, price=price))


def back_and_forth(subscription: Subscription) -> None:
    """A change and its opposite in one second: nothing in the events orders the two."""
    subscription.emitter.wait(DAY)
    for _ in range(subscription.chance.choice((2, 2, 3))):
        leaves = not subscription.state["cancel_at_period_end"]
        subscription.change(cancel_at_period_end=leaves)


# --- items ----------------------------------------------------------------------------------------------


def items(subscription: Subscription) -> None:
    """One more item, in the period of the first one, or one less."""
    subscription.emitter.wait(DAY)
    if len(subscription.items) > 1 and (subscription.is_mixed or subscription.chance.random() < 0.7):
        gone = _any_item(subscription)
        subscription.life.kinds.add("an item goes")
        subscription.change(items={k: item for k, item in subscription.items.items() if k != gone})
        return
    like = subscription.items[_any_item(subscription)]
    price = _price_like(subscription, like, unknown=_is_settled(subscription))
    if _is_taken(subscription, price):
        return
    name = f"sx{len(subscription.life.events)}"
    subscription.life.kinds.add("one more item")
    subscription.change(items={**subscription.items, name: Item(price, 1, like.start, like.end)})


def swap(subscription: Subscription) -> None:
    """An item goes and another one comes in one change: without an invoice, with a paid one, or an unpaid."""
    subscription.emitter.wait(DAY)
    old = _any_item(subscription)
    item, name = subscription.items[old], f"sy{len(subscription.life.events)}"
    price = _price_like(subscription, item, unknown=_is_settled(subscription))
    item = replace(item, price=item.price if _is_taken(subscription, price, but=old) else price)
    others = {each: kept for each, kept in subscription.items.items() if each != old}
    subscription.replaced[name] = old
    subscription.life.kinds.add("an item takes another's place")
    if not _is_settled(subscription) or subscription.chance.random() < 0.6:
        return subscription.change(items={**others, name: item})
    now = subscription.emitter.now
    line = InvoiceLine(name, item.price, item.quantity, now, max(item.end, now + 1), 900, proration=True)
    subscription.make_invoice("subscription_update", [line])
    return _invoiced(subscription, {**others, name: item}, paid=subscription.chance.random() < 0.5)


def paid_extra(subscription: Subscription) -> None:
    """One more item with an invoice of its own, paid at once, whatever the others owe."""
    if not subscription.emitter.newer or not subscription.catalog.mapped(yearly=False):
        return
    subscription.emitter.wait(DAY)
    now, name = subscription.emitter.now, f"sx{len(subscription.life.events)}"
    price = subscription.chance.choice(subscription.catalog.mapped(yearly=False))
    if _is_taken(subscription, price):
        return
    subscription.is_mixed = True
    line = InvoiceLine(name, price, 1, now, now + MONTH, subscription.amount(price))
    subscription.make_invoice("subscription_update", [line])
    kind = "an extra is paid alone" if not subscription.was_granted else "an extra with a period of its own"
    subscription.life.kinds.add(kind)
    in_any_order(
        subscription,
        lambda: subscription.change(items={**subscription.items, name: Item(price, 1, now, now + MONTH)}),
        lambda: subscription.pay(subscription.current_bill),
    )


# --- when it ends ---------------------------------------------------------------------------------------


def leave(subscription: Subscription) -> None:
    """A cancel is scheduled; where items have periods of their own, at an instant."""
    subscription.emitter.wait(DAY)
    subscription.life.kinds.add("a scheduled cancel")
    if not subscription.is_mixed and subscription.chance.random() < 0.5:
        subscription.change(cancel_at_period_end=True)
    else:
        days = subscription.chance.choice((1, 9))
        subscription.change(cancel_at=subscription.emitter.now + days * DAY)
    if subscription.chance.random() < 0.3:
        call_off(subscription)


def call_off(subscription: Subscription) -> None:
    subscription.change(cancel_at=None, cancel_at_period_end=False)


def pause(subscription: Subscription) -> None:
    """Stripe pauses those that had a trial; what was never paid for cannot be."""
    if not all(map(subscription.was_granted_to, subscription.items)):
        return
    subscription.emitter.wait(DAY)
    subscription.life.kinds.add("a pause")
    subscription.change(status="paused")
    subscription.emit("paused")


def resume(subscription: Subscription) -> None:
    """As it was before; from a pause of the trial, with a period that begins now and is paid."""
    subscription.emitter.wait(DAY)
    if subscription.was_paid_for:
        subscription.change(status="active")
    else:
        subscription.roll_over(at_once=True)
        subscription.pay(subscription.current_bill)
    subscription.emit("resumed")


def collect(subscription: Subscription) -> None:
    """Payments are not collected for a while, or for good."""
    subscription.emitter.wait(DAY)
    subscription.life.kinds.add("no collection")
    behavior = subscription.chance.choice(("void", "keep_as_draft"))
    subscription.change(pause_collection={"behavior": behavior, "resumes_at": None})
    if subscription.chance.random() < 0.7:
        if subscription.chance.random() < 0.5:
            subscription.emitter.wait(DAY)
        subscription.change(pause_collection=None)


# --- the catalog ----------------------------------------------------------------------------------------


def edit_catalog(subscription: Subscription) -> None:
    """The merchant edits what products mean from now on, or sells one of them at another price."""
    catalog, emitter = subscription.catalog, subscription.emitter
    if catalog.fixed:
        return None
    if subscription.chance.random() < 0.5:
        return edit_terms(subscription)
    emitter.wait(DAY)
    subscription.life.kinds.add("a price is moved")
    catalog.move_price(emitter.now, subscription.chance)
    emitter.now += 1
    return None


def edit_terms(subscription: Subscription) -> None:
    subscription.emitter.wait(DAY)
    subscription.life.kinds.add("terms are edited")
    subscription.catalog.edit_terms(subscription.emitter.now, subscription.chance)
    subscription.emitter.now += 1


# --- the beginning --------------------------------------------------------------------------------------


def begin(subscription: Subscription) -> bool:
    """Created and paid for, in trial, to be paid later, or never paid: whether it lives."""
    chance, kinds = subscription.chance, subscription.life.kinds
    start = chance.random()
    trial = 0.05 <= start < 0.18
    _first_items(subscription, trial=trial)
    own = subscription.own_lines(list(subscription.items), free=trial)
    lines = subscription.with_other_lines(own, fee=0.5 if trial else 0.12, page=0)
    bill = subscription.make_invoice("subscription_create", lines)
    if chance.random() < 0.15 and start >= 0.05:
        kinds.add("a fixed term")
        subscription.state["cancel_at"] = subscription.began + chance.choice((4 * MONTH, 2 * YEAR))
    if start < 0.05:
        subscription.emit("created")
        subscription.emitter.wait(DAY)
        subscription.change(status="incomplete_expired")
        return False
    if trial:
        kinds.add("a trial with a fee" if bill.amount else "a trial")
        subscription.state |= {"status": "trialing", "trial_end": subscription.next_billing}
        subscription.emit("created")
    elif start < 0.42:
        _begin_unpaid(subscription, sent=start < 0.30)
        return True
    else:
        subscription.emit("created")
        subscription.change(status="active")
    subscription.pay(bill)
    paid = "paid" if bill.amount else "no_payment_required"
    subscription.emitter.session(paid=paid, subscription=True)
    return True


def _begin_unpaid(subscription: Subscription, *, sent: bool) -> None:
    """Active at once: the first invoice is sent, or a bank debit takes days."""
    subscription.life.kinds.add("send_invoice" if sent else "a bank debit")
    method = "send_invoice" if sent else "charge_automatically"
    subscription.state |= {"status": "active", "collection_method": method}
    subscription.emit("created")
    subscription.emitter.session(paid="unpaid", subscription=True)
    course = subscription.chance.random()
    if course < 0.35:
        subscription.emitter.wait(4 * DAY)
        subscription.pay(subscription.current_bill)
        subscription.emitter.session(event_name="async_payment_succeeded", subscription=True)
    elif course < 0.7:
        payment_fails(subscription)
    elif course < 0.9:
        paid_extra(subscription)


def _first_items(subscription: Subscription, *, trial: bool) -> None:
    """One item or, in the newer shape, two of different intervals; a trial is a month for all of them."""
    chance, began = subscription.chance, subscription.began
    monthly, yearly = (subscription.catalog.mapped(yearly=each) for each in (False, True))
    first, mixed = chance.random(), chance.random()
    prices = {"si": chance.choice(yearly if yearly and first < 0.35 else monthly)}
    if yearly and subscription.emitter.newer and mixed < 0.3:
        subscription.life.kinds.add("mixed intervals")
        subscription.is_mixed = True
        prices = {"si": chance.choice(yearly), "sm": chance.choice(monthly)}
    quantity = subscription.names.quantity
    subscription.items = {
        name: Item(price, quantity, began, began + (MONTH if trial else subscription.interval(price)))
        for name, price in prices.items()
    }
    subscription.first_items = set(prices)


# --- helpers --------------------------------------------------------------------------------------------


def _any_item(subscription: Subscription) -> str:
    return subscription.chance.choice(sorted(subscription.items))


def _other_price(subscription: Subscription, name: str, *, unknown: bool) -> str:
    item = subscription.items[name]
    price = _price_like(subscription, item, unknown=unknown)
    is_monthly = not subscription.catalog.is_yearly(item.price)
    if unknown and is_monthly and not subscription.catalog.fixed and subscription.chance.random() < 0.25:
        subscription.life.kinds.add("an unmapped price of the same product")
        price = SAME_PRODUCT
    return subscription.items[name].price if _is_taken(subscription, price, but=name) else price


def _is_taken(subscription: Subscription, price: str, *, but: str | None = None) -> bool:
    """Whether another item has the price: lines that name no item could not tell the two apart.

    Stripe refuses two items of one price.
    """
    others = (item.price for name, item in subscription.items.items() if name != but)
    return subscription.lines_name != "item" and price in others


def _price_like(subscription: Subscription, item: Item, *, unknown: bool) -> str:
    """A price of the same interval, now and then one that means nothing, or means nothing any more."""
    yearly = subscription.catalog.is_yearly(item.price)
    mapped = subscription.catalog.mapped(yearly=yearly)
    if not unknown or (mapped and subscription.chance.random() < 0.6):
        return subscription.chance.choice(mapped or [item.price])
    of_no_product = UNKNOWN_YEARLY if yearly else UNKNOWN
    moved = [price for price in subscription.catalog.first if subscription.catalog.is_yearly(price) is yearly]
    price = subscription.chance.choice([of_no_product, *moved])
    if price not in subscription.catalog.now:
        subscription.life.kinds.add("an unmapped price")
    return price


def _is_settled(subscription: Subscription) -> bool:
    """Whether what the subscription is in was paid for, with money."""
    return subscription.status == "active" and subscription.current_bill.is_paid and subscription.was_granted
