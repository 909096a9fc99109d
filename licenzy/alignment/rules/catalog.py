"""Rules about products and the Stripe prices they are mapped to."""

from __future__ import annotations

from collections.abc import Iterator

from licenzy.alignment.facts import ProductFacts
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
    for product in context.here.products:
        if product.missing is not None and product.missing.value and not product.in_other_mode:
            yield FindingDraft(
                about=_priced(product),
                evidence=f"The connected account has no price {product.stripe_price_id}.",
                cause="The price was deleted, or it belongs to another Stripe account.",
                fix=f"Map {product.product_code} to a price of the connected account.",
                page=_page(product),
                at=product.missing.at,
            )


@rule("price_mode_mismatch", "Stripe price from the other mode", _BLOCKS, Part.PRICES)
def price_mode_mismatch(context: RuleContext) -> Iterator[FindingDraft]:
    mode, other = context.here.mode, context.other.mode
    for product in context.here.products:
        found_there = product.missing is not None and product.missing.value and product.in_other_mode
        if product.price_livemode is mode.livemode and not found_there:
            continue
        yield FindingDraft(
            about=_priced(product),
            evidence=f"{product.stripe_price_id} was found with the {other} mode key."
            if found_there
            else f"Stripe marks {product.stripe_price_id} as a {other} mode price.",
            cause=f"A {mode} mode checkout cannot sell a {other} mode price.",
            fix=f"Map {product.product_code} to a {mode} mode price.",
            page=_page(product),
            at=product.missing.at if found_there and product.missing else product.checked_at,
        )


@rule("price_inactive", "Stripe price archived", _BLOCKS, Part.PRICES)
def price_inactive(context: RuleContext) -> Iterator[FindingDraft]:
    for product in _with_price(context):
        if not product.sellable:
            yield FindingDraft(
                about=_priced(product),
                evidence=f"{product.stripe_price_id} or its Stripe product is not active.",
                cause="Stripe does not sell an archived price.",
                fix=f"Activate it in Stripe, or map {product.product_code} to another price.",
                page=_page(product),
                at=product.checked_at,
            )


@rule("price_kind_mismatch", "Price and product kind mismatch", _BLOCKS, Part.PRICES)
def price_kind_mismatch(context: RuleContext) -> Iterator[FindingDraft]:
    for product in _with_price(context):
        problem = shape_problem(product.kind, recurring=product.recurring, metered=False)
        if problem is not None:
            yield FindingDraft(
                about=_priced(product),
                evidence=f"{product.stripe_price_id} {'recurs' if product.recurring else 'is paid once'}, "
                f"and {product.product_code} is a {product.kind.replace('_', ' ')}.",
                cause=problem,
                fix=f"Map {product.product_code} to a price that matches its kind.",
                page=_page(product),
                at=product.checked_at,
            )


@rule("price_mapped_twice", "Stripe price shared by several products", _WARNS, Part.PRICES)
def price_mapped_twice(context: RuleContext) -> Iterator[FindingDraft]:
    by_price: dict[str, list[ProductFacts]] = {}
    for product in context.here.products:
        by_price.setdefault(product.stripe_price_id, []).append(product)
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
                cause=f"A checkout for it with an lz_{context.here.mode}_ key is refused.",
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


def differences(test: ProductFacts, live: ProductFacts) -> Iterator[tuple[str, str, str]]:
    """What a product of one code differs in between the modes: what, how in test, how in live."""
    for what, differing_text in _COMPARED.items():
        there, here = differing_text(test), differing_text(live)
        if there != here:
            yield what, there, here


def _interval(product: ProductFacts) -> str:
    if product.interval is None:
        return "paid once"
    count = product.interval_count or 1
    return f"every {product.interval}" if count == 1 else f"every {count} {product.interval}s"


def _lasting(product: ProductFacts) -> str:
    return "for good" if product.duration_seconds is None else f"{product.duration_seconds} seconds"


_COMPARED = {
    "kind": lambda product: product.kind.replace("_", " "),
    "units": lambda product: "none" if product.units is None else str(product.units),
    "duration": _lasting,
    "price": lambda product: format_amount(product.unit_amount, product.currency),
    "interval": _interval,
}


def _with_price(context: RuleContext) -> Iterator[ProductFacts]:
    """Products whose price the connected account knows, as far as is known."""
    for product in context.here.products:
        if product.missing is None or not product.missing.value:
            yield product


def _named(product: ProductFacts) -> ObjectRef:
    return ObjectRef("product", product.id, product.product_code)


def _priced(product: ProductFacts) -> tuple[ObjectRef, ObjectRef]:
    return (_named(product), ObjectRef("price", product.stripe_price_id, product.stripe_price_id))


def _page(product: ProductFacts) -> str:
    return f"{PRODUCTS}/{product.id}"
