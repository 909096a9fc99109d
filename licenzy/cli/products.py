"""`licenzy products …`: what is sold, its prices, and the versions of its terms."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from licenzy.cli.error_handling import LicenzyGroup, json_option, print_json
from licenzy.cli.projects import chosen_project, only_project_option, scope_of, test_mode_option
from licenzy.cli.wiring import Wiring, pass_wiring

if TYPE_CHECKING:
    from licenzy.catalog.models import Product, ProductPrice, ProductTerms
    from licenzy.entitlements.models import TermChange


@click.group(cls=LicenzyGroup)
def products() -> None:
    """Show products."""


@products.command("list")
@only_project_option
@test_mode_option
@json_option
@pass_wiring
def list_products(wiring: Wiring, project_id: str | None, mode: str, as_json: bool) -> None:
    """List the products of a project and mode by code, archived ones last."""
    from licenzy.catalog.queries import archived_products
    from licenzy.catalog.queries import products as sold_products

    runtime = wiring.migrated_runtime()
    scope = scope_of(chosen_project(runtime.database, project_id, archived_too=True), mode)
    with runtime.database.read() as db:
        found = [*sold_products(db, scope), *archived_products(db, scope)]
    if as_json:
        print_json({"products": list(map(_product_json, found))})
        return
    for each in found:
        labels = ", ".join(price.label for price in each.selling_prices) or "no price"
        click.echo(f"{each.product_code}  {_state(each)}  {labels}")
    if not found:
        click.echo(f"There are no products in {mode} mode. Create one in the portal, or apply a file.")


@products.command()
@only_project_option
@test_mode_option
@click.argument("product_code")
@json_option
@pass_wiring
def show(wiring: Wiring, project_id: str | None, mode: str, product_code: str, as_json: bool) -> None:
    """Show a product with its prices, the versions of its terms, and who was given them."""
    from licenzy.catalog.queries import product_by_code, versions_of
    from licenzy.entitlements.holders import changes_of
    from licenzy.errors import ProductNotFound

    runtime = wiring.migrated_runtime()
    scope = scope_of(chosen_project(runtime.database, project_id, archived_too=True), mode)
    with runtime.database.read() as db:
        product = product_by_code(db, scope, product_code=product_code)
        if product is None:
            raise ProductNotFound
        versions = versions_of(db, scope, product_id=product.id)
        changes = changes_of(db, scope, product_id=product.id)
    if as_json:
        shown = {"terms": list(map(_terms_json, versions)), "term_changes": list(map(_change_json, changes))}
        print_json({**_product_json(product), **shown})
        return
    for line in _lines(product, versions, changes):
        click.echo(line)


def _lines(product: Product, versions: list[ProductTerms], changes: list[TermChange]) -> Iterator[str]:
    yield f"{product.product_code}  {_state(product)}"
    for price in product.prices:
        yield f"  price {price.label}: {price.stripe_price_id}, {_price_text(price)}"
    yield from _version_lines(versions)
    for change in changes:
        total = max(change.total or 0, change.checked)
        yield (
            f"  version {change.version} given to customers: {change.state}, "
            f"{change.checked:,} of {total:,} entitlements checked, {change.changed:,} changed"
        )


def _version_lines(versions: list[ProductTerms]) -> Iterator[str]:
    from licenzy.catalog.term_differences import term_differences
    from licenzy.kit.clock import rfc3339

    before: dict[str, Any] = {}
    for each in versions:
        differences = term_differences(before, each.terms)
        values = [f"{name}: {old} → {new}" if before else f"{name}: {new}" for name, old, new in differences]
        yield f"  version {each.version} from {rfc3339(each.from_)}: {'; '.join(values)}"
        before = each.terms


def _state(product: Product) -> str:
    return f"{product.kind.value}  {'sold' if product.archived_at is None else 'archived'}"


def _price_text(price: ProductPrice) -> str:
    from licenzy.catalog.new_prices import NewPrice, price_text

    state = "selling" if price.selling else "retired"
    if price.unit_amount is None:
        return f"{price.currency}, {state}"
    asked = NewPrice(price.unit_amount, price.currency, price.interval, price.interval_count or 1)
    return f"{price_text(asked)}, {state}"


def _product_json(product: Product) -> dict[str, Any]:
    from licenzy.kit.clock import rfc3339

    return {
        "id": product.id,
        "product_code": product.product_code,
        "kind": product.kind.value,
        "archived_at": rfc3339(product.archived_at) if product.archived_at else None,
        "terms_version": product.terms_version,
        "prices": list(map(_price_json, product.prices)),
    }


def _price_json(price: ProductPrice) -> dict[str, Any]:
    return {
        "label": price.label,
        "stripe_price_id": price.stripe_price_id,
        "lookup_key": price.lookup_key,
        "selling": price.selling,
        "unit_amount": price.unit_amount,
        "currency": price.currency,
        "interval": price.interval,
        "interval_count": price.interval_count,
    }


def _terms_json(version: ProductTerms) -> dict[str, Any]:
    from licenzy.kit.clock import rfc3339

    return {"version": version.version, "from": rfc3339(version.from_), "terms": version.terms}


def _change_json(change: TermChange) -> dict[str, Any]:
    from licenzy.kit.clock import rfc3339

    return {
        "id": change.id,
        "version": change.version,
        "state": change.state,
        "requested_at": rfc3339(change.requested_at),
        "ended_at": rfc3339(change.ended_at) if change.ended_at else None,
        "total": change.total,
        "checked": change.checked,
        "changed": change.changed,
        "failed": change.failed,
    }
