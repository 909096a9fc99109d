"""Rules about products and the Stripe prices they are mapped to."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from licenzy.alignment.facts import MappedPrice, ProductFacts
from licenzy.alignment.findings import (
    GO_LIVE,
    PRODUCTS,
    FindingDraft,
    ObjectRef,
    Part,
    RuleContext,
    Severity,
    rule,
)
from licenzy.alignment.modes import Mode
from licenzy.alignment.shapes import shape_problem
from licenzy.kit.money import format_amount

_BLOCKS, _WARNS, _NOTES = Severity


@rule("price_not_found", "Stripe price not found", _BLOCKS, Part.PRICES)
def price_not_found(context: RuleContext) -> Iterator[FindingDraft]:
    for product, price in _selling(context):
        if price.missing is not None and price.missing.value and not price.in_other_mode:
            yield FindingDraft(
                about=_priced(product, price),
                evidence=f"The connected account has no price {price.stripe_price_id}.",
                cause="The price was deleted, or it belongs to another Stripe account.",
                fix=f"Map {product.product_code} to a price of the connected account.",
                page=_page(product),
                at=price.missing.at,
            )


@rule("price_mode_mismatch", "Stripe price from the other mode", _BLOCKS, Part.PRICES)
def price_mode_mismatch(context: RuleContext) -> Iterator[FindingDraft]:
    mode, other = context.here.mode, context.other.mode
    for product, price in _selling(context):
        found_there = price.missing is not None and price.missing.value and price.in_other_mode
        if price.livemode is mode.livemode and not found_there:
            continue
        yield FindingDraft(
            about=_priced(product, price),
            evidence=f"{price.stripe_price_id} was found with the {other} mode key."
            if found_there
            else f"Stripe marks {price.stripe_price_id} as a {other} mode price.",
            cause=f"A {mode} mode checkout cannot sell a {other} mode price.",
            fix=f"Map {product.product_code} to a {mode} mode price.",
            page=_page(product),
            at=price.missing.at if found_there and price.missing else price.checked_at,
        )


@rule("price_inactive", "Stripe price archived", _BLOCKS, Part.PRICES)
def price_inactive(context: RuleContext) -> Iterator[FindingDraft]:
    for product, price in _at_stripe(context):
        if not price.sellable:
            yield FindingDraft(
                about=_priced(product, price),
                evidence=f"{price.stripe_price_id} or its Stripe product is not active.",
                cause="Stripe does not sell an archived price.",
                fix=f"Activate it in Stripe, or map {product.product_code} to another price.",
                page=_page(product),
                at=price.checked_at,
            )


@rule("price_kind_mismatch", "Price and product kind mismatch", _BLOCKS, Part.PRICES)
def price_kind_mismatch(context: RuleContext) -> Iterator[FindingDraft]:
    for product, price in _at_stripe(context):
        problem = shape_problem(product.kind, recurring=price.recurring, metered=False)
        if problem is not None:
            yield FindingDraft(
                about=_priced(product, price),
                evidence=f"{price.stripe_price_id} {'recurs' if price.recurring else 'is paid once'}, "
                f"and {product.product_code} is a {product.kind.replace('_', ' ')}.",
                cause=problem,
                fix=f"Map {product.product_code} to a price that matches its kind.",
                page=_page(product),
                at=price.checked_at,
            )


@rule("price_mapped_twice", "Stripe price shared by several products", _WARNS, Part.PRICES)
def price_mapped_twice(context: RuleContext) -> Iterator[FindingDraft]:
    """Only prices that were mapped twice before that was refused."""
    by_price: dict[str, list[ProductFacts]] = {}
    for product in context.here.products:
        for price in product.prices:
            by_price.setdefault(price.stripe_price_id, []).append(product)
    for price_id, sharing in by_price.items():
        if len(sharing) > 1:
            codes = sorted(product.product_code for product in sharing)
            yield FindingDraft(
                about=(*(_named(product) for product in sharing), ObjectRef("price", price_id, price_id)),
                evidence=f"{' and '.join(codes)} are mapped to {price_id}.",
                cause="A subscription that changes to this price counts as the oldest of these products.",
                fix="Give each product a price of its own.",
                page=PRODUCTS,
                at=max(product.checked_at for product in sharing),
            )


@rule(
    "product_only_in_one_mode",
    "Product missing in this mode",
    _NOTES,
    Part.PRODUCTS,
    compares=True,
)
def product_only_in_one_mode(context: RuleContext) -> Iterator[FindingDraft]:
    here = {product.product_code for product in context.here.products}
    for product in context.other.products:
        if product.product_code not in here:
            yield FindingDraft(
                about=(_named(product),),
                evidence=f"{product.product_code} exists only in {context.other.mode} mode.",
                cause=f"A call that names it with an lz_{context.here.mode}_ key is refused."
                if product.kind == "free"
                else f"A checkout for it with an lz_{context.here.mode}_ key is refused.",
                fix=f"Create {product.product_code} in {context.here.mode} mode too, or archive it in "
                f"{context.other.mode} mode.",
                page=GO_LIVE if context.here.mode is Mode.LIVE else PRODUCTS,  # Copied to live, never back.
                at=product.created_at,
            )


@rule("product_differs", "Product differs between test and live", _WARNS, Part.PRODUCTS, compares=True)
def product_differs(context: RuleContext) -> Iterator[FindingDraft]:
    if context.here.mode is Mode.TEST:
        return  # Said once, on the side that customers meet.
    tested_products = {product.product_code: product for product in context.other.products}
    for product in context.here.products:
        tested = tested_products.get(product.product_code)
        differing = [] if tested is None else list(differences(tested, product))
        if differing:
            differing_text = "; ".join(
                f"{what}: {there} in test mode, {here} in live mode" for what, there, here in differing
            )
            yield FindingDraft(
                about=(_named(product),),
                evidence=f"{differing_text}.",
                cause="Live mode sells something other than what was tested.",
                fix=f"Make {product.product_code} the same in both modes, unless the difference is intended.",
                page=_page(product),
                at=product.checked_at,
            )


@rule(
    "included_units_differ",
    "Included units differ between test and live",
    _WARNS,
    Part.PRODUCTS,
    compares=True,
)
def included_units_differ(context: RuleContext) -> Iterator[FindingDraft]:
    if context.here.mode is Mode.TEST:
        return  # Said once, on the side that customers meet.
    tested_products = {product.product_code: product for product in context.other.products}
    for product in context.here.products:
        tested = tested_products.get(product.product_code)
        differing = [] if tested is None else list(included_differences(tested, product))
        if differing:
            yield FindingDraft(
                about=(_named(product),),
                evidence="; ".join(
                    f"{unit}: {there} in test mode, {here} in live mode" for unit, there, here in differing
                )
                + ".",
                cause="Live purchases include other units than those that were tested.",
                fix=f"Edit the included units of {product.product_code} in one of the modes, unless the "
                "difference is intended.",
                page=_page(product),
                at=product.checked_at,
            )


def included_differences(test: ProductFacts, live: ProductFacts) -> Iterator[tuple[str, str, str]]:
    """The units that a product of one code includes differently in the modes: unit, terms in test, in live.

    The sequence of the units means nothing.
    """
    tried = {each.unit: each.terms for each in test.included}
    sold = {each.unit: each.terms for each in live.included}
    for unit in sorted({*tried, *sold}):
        there, here = tried.get(unit, "none"), sold.get(unit, "none")
        if there != here:
            yield unit, there, here


def differences(test: ProductFacts, live: ProductFacts) -> Iterator[tuple[str, str, str]]:
    """What a product of one code differs in between the modes: what, how in test, how in live.

    Prices are compared label by label.
    """
    for what, described in _COMPARED.items():
        there, here = described(test), described(live)
        if there != here:
            yield what, there, here
    tried = {price.label: price for price in test.selling_prices}
    sold = {price.label: price for price in live.selling_prices}
    for label in [*tried, *(label for label in sold if label not in tried)]:
        named = "" if label == _UNNAMED else f" {label}"
        for what, of_price in _COMPARED_PRICES.items():
            there, here = of_price(tried.get(label)), of_price(sold.get(label))
            if there != here:
                yield f"{what}{named}", there, here


def _amount(price: MappedPrice | None) -> str:
    return "none" if price is None else format_amount(price.unit_amount, price.currency)


def _interval(price: MappedPrice | None) -> str:
    if price is None:
        return "none"
    if price.interval is None:
        return "paid once"
    count = price.interval_count or 1
    return f"every {price.interval}" if count == 1 else f"every {count} {price.interval}s"


def _lasting(product: ProductFacts) -> str:
    return "for good" if product.duration_seconds is None else f"{product.duration_seconds} seconds"


def _yes_or_no(state: bool) -> str:
    return "yes" if state else "no"


def _limits(product: ProductFacts) -> str:
    described = (
        f"{code} {'unlimited' if value is None else value}" for code, value in sorted(product.limits.items())
    )
    return ", ".join(described) or "none"


_COMPARED: dict[str, Callable[[ProductFacts], str]] = {
    "kind": lambda product: product.kind.replace("_", " "),
    "unit": lambda product: product.unit or "none",
    "units": lambda product: "none" if product.units is None else str(product.units),
    "duration": _lasting,
    "limits": _limits,
    "limits add up": lambda product: _yes_or_no(product.adds),
    "default product": lambda product: _yes_or_no(product.is_default),
    "gives access to everybody": lambda product: _yes_or_no(product.grants_access),
}
_COMPARED_PRICES: dict[str, Callable[[MappedPrice | None], str]] = {"price": _amount, "interval": _interval}
_UNNAMED = "default"
"""The label of a price that was given none."""


def _selling(context: RuleContext) -> Iterator[tuple[ProductFacts, MappedPrice]]:
    """Every price that is sold at. A retired one may be archived or gone in Stripe."""
    for product in context.here.products:
        for price in product.selling_prices:
            yield product, price


def _at_stripe(context: RuleContext) -> Iterator[tuple[ProductFacts, MappedPrice]]:
    """Those among them that the connected account knows, as far as is known."""
    for product, price in _selling(context):
        if price.missing is None or not price.missing.value:
            yield product, price


def _named(product: ProductFacts) -> ObjectRef:
    return ObjectRef("product", product.id, product.product_code)


def _priced(product: ProductFacts, price: MappedPrice) -> tuple[ObjectRef, ObjectRef]:
    return (_named(product), ObjectRef("price", price.stripe_price_id, price.stripe_price_id))


def _page(product: ProductFacts) -> str:
    return f"{PRODUCTS}/{product.id}"
