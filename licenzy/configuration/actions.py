"""Plans and applies a configuration file.

All reading from Stripe comes first. Everything is then written in one transaction by the verbs of the catalog
and of webhook endpoints, so that their validation and their entries in the audit log are the same as those of
the portal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from sqlmodel import Session

from licenzy.catalog.prices import lock_catalog
from licenzy.configuration.differences import Differences, PriceIds, WantedState, differences
from licenzy.configuration.entries import Configuration, ConfigurationRefused, Installed
from licenzy.configuration.execution import Execution, NewSecret, execute
from licenzy.configuration.queries import installed
from licenzy.configuration.stripe_prices import (
    CreatedPrice,
    FoundPrices,
    StripeSide,
    check_new_mappings,
    create_price,
    find_prices,
)
from licenzy.db.unit_of_work import Database
from licenzy.deliveries.actions import EndpointContext
from licenzy.deliveries.rules import secret_problem
from licenzy.entitlements.holder_preview import preview_edit
from licenzy.errors import LicenzyError
from licenzy.kit.secret_box import SecretBox
from licenzy.projects.scope import Scope
from licenzy.stripe_gateway.client import StripeGateway
from licenzy.workspace.audit import Actor


@dataclass(frozen=True, slots=True)
class Planned:
    """What a file will change, with all that was read to find out."""

    wanted: WantedState
    installed: Installed
    found: FoundPrices
    changes: Differences
    holders: Mapping[str, int] = field(default_factory=dict)
    """How many entitlements are given changed terms, by product code, where the file says so."""


@dataclass(frozen=True, slots=True)
class AppliedChanges:
    """What was done."""

    changes: Differences
    created_prices: tuple[CreatedPrice, ...] = ()
    secrets: tuple[NewSecret, ...] = ()


def plan_changes(
    database: Database,
    gateway: StripeGateway,
    secret_box: SecretBox,
    scope: Scope,
    *,
    configuration: Configuration,
    environ: Mapping[str, str],
    prune: bool = False,
    create_prices: bool = False,
    now: datetime,
) -> Planned:
    """Compare a file with what is there. Changes nothing, here or in Stripe.

    `environ` has the secrets that the file names; `create_prices` allows missing prices to be created in
    test mode outside the sandbox. Raises ConfigurationRefused, StripeNotConnected and Stripe's errors.
    """
    if prune and not configuration.products and not configuration.endpoints:
        raise configuration.refusal("", "An empty file cannot be applied with --prune. Add an entry to it.")
    secrets = _secrets(configuration, environ)
    with database.read() as db:
        there = installed(db, secret_box, scope)
    side = StripeSide(database, gateway, secret_box, scope)
    found = find_prices(side, configuration, there, create_prices=create_prices)
    wanted = WantedState(configuration, found.ids, secrets, prune)
    changes = differences(wanted, there)
    check_new_mappings(configuration, scope, changes, there, found.facts)
    return Planned(wanted, there, found, changes, _holders(database, scope, changes, now))


def apply_changes(
    database: Database,
    gateway: StripeGateway,
    secret_box: SecretBox,
    scope: Scope,
    *,
    planned: Planned,
    private_allowed: bool,
    actor: Actor,
    now: datetime,
) -> AppliedChanges:
    """Do what was planned: create the missing prices in Stripe, then write all changes in one transaction.

    Where somebody else has done the same meanwhile, nothing is left to do. Raises ConfigurationRefused,
    also when something else was changed meanwhile, and Stripe's errors; nothing is written here then.
    """
    side = StripeSide(database, gateway, secret_box, scope)
    created: list[CreatedPrice] = []
    configuration = planned.wanted.configuration
    try:
        found = _create_prices(side, planned, created)
        wanted = replace(planned.wanted, price_ids=found.ids)
        expected = differences(wanted, planned.installed)
        check_new_mappings(configuration, scope, expected, planned.installed, found.facts)
        context = EndpointContext(scope, actor, now)
        execution = Execution(
            secret_box, context, configuration, found.facts, wanted.secrets, private_allowed
        )
        changes, secrets = database.retrying(lambda db: _write(db, execution, wanted, expected))
        return AppliedChanges(changes, tuple(created), secrets)
    except LicenzyError as error:
        if created:
            raise _with_created(error, configuration, created) from error
        raise


def _write(
    db: Session, execution: Execution, wanted: WantedState, expected: Differences
) -> tuple[Differences, tuple[NewSecret, ...]]:
    """Compare once more under the lock of the catalog, and make the changes that were expected."""
    scope = execution.context.scope
    lock_catalog(db, scope)
    changes = differences(wanted, installed(db, execution.secret_box, scope))
    if changes and changes != expected:
        raise execution.configuration.refusal(
            "", "The products or endpoints were changed while the file was compared. Apply it again."
        )
    return changes, execute(db, execution, changes)


def _holders(database: Database, scope: Scope, changes: Differences, now: datetime) -> dict[str, int]:
    with database.read() as db:
        return {
            each.code: preview_edit(
                db, scope, product_id=each.product_id, draft=each.entry.draft, now=now
            ).count
            for each in changes.products
            if each.for_holders and each.product_id is not None and each.entry is not None
        }


def _secrets(configuration: Configuration, environ: Mapping[str, str]) -> dict[str, str]:
    secrets: dict[str, str] = {}
    for endpoint in configuration.endpoints:
        name = endpoint.secret_env
        if name is None:
            continue
        secret = environ.get(name, "")
        if not secret:
            problem = f"The environment variable {name} is not set. Set it to the secret of the endpoint."
            raise configuration.refusal(endpoint.place, problem)
        wrong = secret_problem(secret)
        if wrong is not None:
            raise configuration.refusal(endpoint.place, f"The environment variable {name} {wrong}.")
        secrets[name] = secret
    return secrets


def _create_prices(side: StripeSide, planned: Planned, created: list[CreatedPrice]) -> FoundPrices:
    """The prices of the file, those included that were created now, which are added to `created`."""
    ids, facts = dict(planned.found.ids), dict(planned.found.facts)
    products: dict[str, str | None] = {
        product.draft.product_code: price.stripe_product_id
        for product in planned.installed.products
        for price in product.selling
    }
    for product, price in planned.changes.to_create():
        known = [facts[each] for each in _ids_of(ids, product.code) if each in facts]
        stripe_product_id = products.get(product.code) or next((each.product_id for each in known), None)
        place = product.place_of(price)
        try:
            made = create_price(side, product, price, stripe_product_id=stripe_product_id)
        except LicenzyError as error:
            error.message = f"{planned.wanted.configuration.source}: {place}: {error.message}"
            raise
        ids[product.code, price.label], facts[made.id] = made.id, made
        created.append(CreatedPrice(product.code, price.label, made.lookup_key or "", made.id))
    return FoundPrices(ids, facts)


def _ids_of(ids: PriceIds, code: str) -> list[str]:
    return [price_id for (of, _), price_id in sorted(ids.items()) if of == code and price_id is not None]


def _with_created(
    error: LicenzyError, configuration: Configuration, created: list[CreatedPrice]
) -> ConfigurationRefused:
    """The error, with what it leaves behind in Stripe."""
    prices = ", ".join(f"{each.lookup_key} ({each.stripe_price_id})" for each in created)
    named = error.message.startswith(f"{configuration.source}: ")
    said = error.message if named else f"{configuration.source}: {error.message}"
    left = f"Nothing was changed here. Created in Stripe, and used the next time: {prices}."
    parts = [said, error.hint, left]
    return ConfigurationRefused(" ".join(part for part in parts if part))
