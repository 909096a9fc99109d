"""Verbs on products: create, edit, archive and restore them. Those on their prices are in `prices`.

Verbs that take a `Database` ask Stripe first and write afterwards, in a transaction of their own. Those that
take a session get prices that were just read, so that several of them can share one transaction.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any, Protocol, TypeAlias

from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from licenzy.catalog import queries, rules
from licenzy.catalog.included import Renewing, step_problems
from licenzy.catalog.models import Kind, Product, ProductTerms
from licenzy.catalog.prices import lock_catalog, prices_shown, read_price, refuse, refuse_unfit, sell_at
from licenzy.catalog.rules import Draft, ProductRefused
from licenzy.connections.queries import with_clock
from licenzy.db.unit_of_work import Database
from licenzy.kit.ids import new_id
from licenzy.kit.secret_box import SecretBox
from licenzy.observations.actions import probe_again
from licenzy.projects.scope import Scope
from licenzy.stripe_gateway.client import PriceFacts, StripeGateway
from licenzy.workspace.audit import Actor, record

WasGranted: TypeAlias = Callable[[Session, Scope, str], bool]
"""Whether anybody has or had the product with this code: `entitlements.queries.was_granted`."""


class GiveToHolders(Protocol):
    """Gives a version of a product's terms to all who have it: `entitlements.holders.give_to_holders`."""

    def __call__(
        self, db: Session, scope: Scope, /, *, product_id: str, version: int, actor: Actor, now: datetime
    ) -> object: ...


def create_product(
    database: Database,
    gateway: StripeGateway,
    secret_box: SecretBox,
    scope: Scope,
    *,
    draft: Draft,
    actor: Actor,
    now: datetime,
) -> Product:
    """Map a new code to a price; a free product has none, and Stripe is not asked.

    Raises ProductRefused, StripeNotConnected and Stripe's errors.
    """
    draft = rules.trimmed_to_kind(draft)
    refuse(rules.draft_problems(draft))
    with database.read() as db:
        _refuse_taken_code(db, scope, code=draft.product_code)
    price = None
    if draft.is_sold:
        price = read_price(database, gateway, secret_box, scope, price_id=draft.price_id)
    with database.write() as db:
        return insert_product(db, scope, draft=draft, price=price, actor=actor, now=now)


def insert_product(
    db: Session, scope: Scope, *, draft: Draft, price: PriceFacts | None, actor: Actor, now: datetime
) -> Product:
    """Map a new code to a price that was just read from Stripe; a free product to none.

    Raises ProductRefused.
    """
    draft = rules.trimmed_to_kind(draft)
    refuse(rules.draft_problems(draft))
    if price is not None:
        refuse_unfit(draft.kind, price, scope.mode)
        refuse(step_problems(draft.included, [price]))
    product = Product(
        id=new_id("prd"),
        project_id=scope.project_id,
        mode=scope.mode,
        product_code=draft.product_code,
        kind=draft.kind,
        created_at=now,
        updated_at=now,
        prices=[],
        **_described(draft),
    )
    lock_catalog(db, scope)
    _refuse_taken_code(db, scope, code=draft.product_code)
    if draft.is_default:
        _refuse_second_default(db, scope)
    try:
        db.add(product)
        db.flush()
    except IntegrityError:  # On Postgres two people may save the same new code in one moment.
        raise _code_taken(archived=False) from None
    if price is not None:
        sell_at(db, product, price, label=draft.price_label, now=now)
    _write_terms(db, product, now)
    _record(db, product, "product.created", actor=actor, before=None, now=now)
    probe_again(db, scope, now=now)
    return product


def edit_product(
    database: Database,
    gateway: StripeGateway,
    secret_box: SecretBox,
    scope: Scope,
    *,
    product_id: str,
    draft: Draft,
    was_granted: WasGranted,
    give_to_holders: GiveToHolders | None = None,
    actor: Actor,
    now: datetime,
) -> Product:
    """Change what future purchases of a product get; what was sold before stays as it was sold.

    With `give_to_holders` those who have the product are given its terms too.

    The code and the kind of a product never change: those of `draft` are ignored. Its unit changes only
    while nobody has the product. Another price takes the
    place of the main one, which is retired; a product without a main price keeps its prices.
    Raises ProductNotFound, ProductRefused, StripeNotConnected and Stripe's errors.
    """
    with database.read() as db:
        product = queries.product(db, scope, product_id=product_id)
    main = product.main_price
    draft = rules.for_product(draft, product)
    refuse(rules.draft_problems(draft, priced=main is not None))
    price = None
    if main is not None:
        draft = replace(draft, price_label=main.label)
        price = read_price(database, gateway, secret_box, scope, price_id=draft.price_id)

    def write(db: Session) -> Product:
        return change_product(
            db,
            scope,
            product_id=product_id,
            draft=draft,
            price=price,
            was_granted=was_granted,
            give_to_holders=give_to_holders,
            actor=actor,
            now=now,
        )

    return database.retrying(write)


def change_product(
    db: Session,
    scope: Scope,
    *,
    product_id: str,
    draft: Draft,
    price: PriceFacts | None,
    was_granted: WasGranted,
    give_to_holders: GiveToHolders | None = None,
    actor: Actor,
    now: datetime,
) -> Product:
    """Change what future purchases of a product get, as `edit_product` does.

    `price` was just read from Stripe and takes the label of `draft`; without one the prices stay.
    Raises ProductNotFound and ProductRefused.
    """
    lock_catalog(db, scope)
    product = queries.product(db, scope, product_id=product_id)
    draft = rules.for_product(draft, product)
    refuse(rules.draft_problems(draft, priced=price is not None))
    if price is not None:
        refuse_unfit(product.kind, price, scope.mode)
    if draft.unit != product.unit and was_granted(db, scope, product.product_code):
        raise ProductRefused({"unit": rules.unit_fixed(product.unit)})
    refuse(step_problems(draft.included, _prices_after(product, draft, price)))
    if draft.is_default and product.archived_at is None:
        _refuse_second_default(db, scope, product_id=product_id)
    before, terms = _audit_view(product), rules.terms_of(product)
    for name, value in {**_described(draft), "updated_at": now}.items():
        setattr(product, name, value)
    if rules.terms_of(product) != terms:
        product.terms_version += 1
        _write_terms(db, product, now)
    if price is not None:
        sell_at(db, product, price, label=draft.price_label, now=now)
    db.add(product)
    db.flush()
    _record(db, product, "product.changed", actor=actor, before=before, now=now)
    if give_to_holders is not None:
        version = product.terms_version
        give_to_holders(db, scope, product_id=product_id, version=version, actor=actor, now=now)
    probe_again(db, scope, now=now)
    return product


def _prices_after(product: Product, draft: Draft, price: PriceFacts | None) -> list[Renewing]:
    """What the product is sold at once `price` has taken the place of the one that has its label."""
    if price is None:
        return [*product.selling_prices]
    return [*(each for each in product.selling_prices if each.label != draft.price_label), price]


def terms_after(product: Product, draft: Draft) -> dict[str, Any]:
    """The terms that a product has once it is edited."""
    draft = rules.for_product(draft, product)
    return rules.terms_of(Product(kind=product.kind, **_described(draft)))


def archive_product(db: Session, scope: Scope, *, product_id: str, actor: Actor, now: datetime) -> Product:
    """Stop selling a product. Who bought it keeps what was bought. Raises ProductNotFound."""
    product = queries.product(db, scope, product_id=product_id)
    if product.archived_at is None:
        product.archived_at = product.updated_at = now
        db.add(product)
        _record(db, product, "product.archived", actor=actor, before=None, now=now)
    return product


def restore_product(db: Session, scope: Scope, *, product_id: str, actor: Actor, now: datetime) -> Product:
    """Sell an archived product again.

    Raises ProductNotFound, and ProductRefused for a default product where another one took its place.
    """
    lock_catalog(db, scope)
    product = queries.product(db, scope, product_id=product_id)
    if product.archived_at is not None:
        if product.is_default:
            _refuse_second_default(db, scope)
        product.archived_at = None
        product.updated_at = now
        db.add(product)
        _record(db, product, "product.restored", actor=actor, before=None, now=now)
    return product


def _refuse_taken_code(db: Session, scope: Scope, *, code: str) -> None:
    taken = queries.product_by_code(db, scope, product_code=code)
    if taken is not None:
        raise _code_taken(archived=taken.archived_at is not None)


def _refuse_second_default(db: Session, scope: Scope, *, product_id: str | None = None) -> None:
    """Raises ProductRefused where a product other than this one is the default. The catalog is locked."""
    present = queries.default_product(db, scope)
    if present is not None and present.id != product_id:
        raise ProductRefused({"is_default": rules.default_taken(present.product_code)})


def _code_taken(*, archived: bool) -> ProductRefused:
    problem = (
        "An archived product of this mode has this code. Restore that product instead."
        if archived
        else "Another product of this mode has this code."
    )
    return ProductRefused({"product_code": problem})


def _write_terms(db: Session, product: Product, now: datetime) -> None:
    """Write the product's present terms as the version that it names, from now on by the side's own clock."""
    scope = with_clock(db, Scope.of(product))
    db.add(
        ProductTerms(
            project_id=product.project_id,
            product_id=product.id,
            version=product.terms_version,
            from_=scope.at(now),
            terms=rules.terms_of(product),
        )
    )


def _described(draft: Draft) -> dict[str, Any]:
    return {
        "unit": draft.unit,
        "units": draft.units,
        "usage_low_units": draft.usage_low_units,
        "duration_seconds": draft.duration_seconds,
        "features": list(draft.features),
        "included": [line.to_json() for line in draft.included],
        "limits": dict(draft.limits),
        "adds": draft.adds,
        "is_default": draft.is_default,
        "grants_access": draft.grants_access,
        "grace_days": draft.grace_days,
        "trial_days": draft.trial_days,
        "trial_card": draft.trial_card,
        "trial_end_without_card": draft.trial_end_without_card,
        "trial_once": draft.trial_once,
        "trial_group": draft.trial_group,
        "allow_promotion_codes": draft.allow_promotion_codes,
        "automatic_tax": draft.automatic_tax,
        "adjustable_quantity": draft.adjustable_quantity,
    }


def _audit_view(product: Product) -> dict[str, Any]:
    """What the audit log tells of a product."""
    free = product.kind is Kind.FREE
    return {
        "kind": product.kind.value,
        "product_code": product.product_code,
        "version": product.terms_version,
        **rules.terms_of(product),
        **({"default": product.is_default, "grants_access": product.grants_access} if free else {}),
        **prices_shown(product),
        "trial_days": product.trial_days,
        "trial_card": product.trial_card.value,
        "trial_end_without_card": product.trial_end_without_card.value,
        "trial_once": product.trial_once,
        "trial_group": product.trial_group,
        "allow_promotion_codes": product.allow_promotion_codes,
        "automatic_tax": product.automatic_tax,
        "adjustable_quantity": product.adjustable_quantity,
    }


def _record(
    db: Session, product: Product, action: str, *, actor: Actor, before: dict[str, Any] | None, now: datetime
) -> None:
    record(
        db,
        actor=actor,
        action=action,
        project_id=product.project_id,
        mode=product.mode,
        about=product.id,
        before=before,
        after=_audit_view(product),
        now=now,
    )
