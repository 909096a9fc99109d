"""trials once per customer, with or without a card"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import sqlalchemy as sa
from alembic import op

from licenzy.db.migrations.compatibility import compatible_since

revision = '0023_trials'
down_revision = '0022_limits_and_default_product'
branch_labels = None
depends_on = None

_FACTS = sa.table(
    'facts',
    sa.column('project_id', sa.String()),
    sa.column('mode', sa.String()),
    sa.column('purchase_key', sa.String()),
    sa.column('source_id', sa.String()),
    sa.column('kind', sa.String()),
    sa.column('occurred_at', sa.BigInteger()),
    sa.column('data', sa.JSON()),
)
_PURCHASES = sa.table(
    'purchases',
    sa.column('project_id', sa.String()),
    sa.column('mode', sa.String()),
    sa.column('key', sa.String()),
    sa.column('subject_id', sa.String()),
    sa.column('trialed_at', sa.BigInteger()),
    sa.column('trialed_products', sa.JSON()),
)
_ATTEMPTS = sa.table(
    'checkout_attempts',
    sa.column('project_id', sa.String()),
    sa.column('mode', sa.String()),
    sa.column('id', sa.String()),
    sa.column('status', sa.String()),
    sa.column('stripe_params', sa.JSON()),
    sa.column('trial_days', sa.Integer()),
)
_AT_A_TIME = 500
_UNDER_WAY = ('created', 'open', 'processing')


def upgrade() -> None:
    _add_columns()
    _remember_trials()
    _remember_offers()
    # Older code would offer a trial again, and write none of these columns.
    compatible_since(revision)


def _add_columns() -> None:
    for column in (
        sa.Column('trial_card', sa.String(length=32), nullable=False, server_default='always'),
        sa.Column('trial_end_without_card', sa.String(length=32), nullable=False, server_default='cancel'),
        # What was there before goes on as it was; new products are written with it on.
        sa.Column('trial_once', sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column('trial_group', sa.String(length=32), nullable=False, server_default=''),
    ):
        op.add_column('products', column)
    op.add_column('purchases', sa.Column('trialed_at', sa.BigInteger(), nullable=True))
    op.add_column('purchases', sa.Column('trialed_products', sa.JSON(), nullable=True))
    op.add_column('checkout_attempts', sa.Column('trial_days', sa.Integer(), nullable=True))
    op.add_column('subjects', sa.Column('another_trial_allowed_at', sa.BigInteger(), nullable=True))
    op.add_column('subjects', sa.Column('another_trial_attempt_id', sa.String(), nullable=True))


def _remember_trials() -> None:
    """Fill in, for purchases with a subject, what projecting their facts again gives."""
    db, after = op.get_bind(), ('', '', '')
    order = (_PURCHASES.c.project_id, _PURCHASES.c.mode, _PURCHASES.c.key)
    while True:
        page = db.execute(
            sa.select(*order)
            .where(
                sa.tuple_(*order) > after, _PURCHASES.c.key.like('sub@_%', escape='@'), _PURCHASES.c.subject_id.is_not(None)
            )
            .order_by(*order)
            .limit(_AT_A_TIME)
        ).all()
        if not page:
            return
        after = tuple(page[-1])
        for key, facts in _facts_of([tuple(row) for row in page]).items():
            if (trial := _trial_in(facts)) is not None:
                this = sa.and_(*(column == value for column, value in zip(order, key, strict=True)))
                db.execute(sa.update(_PURCHASES).where(this).values(trialed_at=trial[0], trialed_products=trial[1]))


def _facts_of(keys: list[tuple[str, ...]]) -> dict[tuple[str, ...], list[tuple[Any, ...]]]:
    wanted, found = set(keys), defaultdict(list)
    rows = op.get_bind().execute(
        sa.select(_FACTS).where(
            _FACTS.c.kind == 'subscription',
            _FACTS.c.project_id.in_({key[0] for key in keys}),
            _FACTS.c.purchase_key.in_([key[2] for key in keys]),
        )
    )
    for row in rows:
        key = (row.project_id, row.mode, row.purchase_key)
        if key in wanted:
            found[key].append((row.occurred_at, row.source_id, row.data))
    return found


def _trial_in(facts: list[tuple[Any, ...]]) -> tuple[int, list[str]] | None:
    """When the subscription was first in a trial, and of which products."""
    trialing = [fact for fact in facts if fact[2]['status'] == 'trialing']
    unpaid = ('incomplete', 'incomplete_expired')
    later = [fact for fact in facts if fact[2].get('trial_end') and fact[2]['status'] not in unpaid]
    told = trialing or sorted(later, key=lambda fact: fact[:2])[:1]
    if not told:
        return None
    terms = [item.get('sold') or item.get('same_product') for fact in told for item in fact[2]['items']]
    return min(fact[0] for fact in told), sorted({each['product_code'] for each in terms if each})


def _remember_offers() -> None:
    """Note the trials that checkouts under way offer."""
    db = op.get_bind()
    for row in db.execute(sa.select(_ATTEMPTS).where(_ATTEMPTS.c.status.in_(_UNDER_WAY))).all():
        days = (row.stripe_params.get('subscription_data') or {}).get('trial_period_days')
        if days:
            this = sa.and_(
                _ATTEMPTS.c.project_id == row.project_id, _ATTEMPTS.c.mode == row.mode, _ATTEMPTS.c.id == row.id
            )
            db.execute(sa.update(_ATTEMPTS).where(this).values(trial_days=days))
