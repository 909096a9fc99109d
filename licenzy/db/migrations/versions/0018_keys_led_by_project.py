"""what grows with use is keyed by its project first"""

from __future__ import annotations

from typing import NamedTuple

import sqlalchemy as sa
from alembic import op
from alembic.operations.base import BatchOperations

from licenzy.db.migrations.compatibility import compatible_since

revision = '0018_keys_led_by_project'
down_revision = '0017_product_prices'
branch_labels = None
depends_on = None


class _Change(NamedTuple):
    """What becomes of the keys of one table."""

    primary: tuple[str, ...] | None = None
    """The columns of its new primary key."""
    unique: tuple[str, ...] | None = None
    """The columns of the unique constraint that gets project and mode before them."""
    refers: tuple[tuple[str, str], ...] = ()
    """Columns that name a row of another table by its id, and that table."""
    without_row_numbers: bool = False
    """On SQLite."""


_SIDE = ('project_id', 'mode')
_BY_ID = (*_SIDE, 'id')
_CHANGES = {
    'subjects': _Change(_BY_ID, without_row_numbers=True),
    'purchases': _Change(refers=(('subject_id', 'subjects'),)),
    'facts': _Change(_BY_ID),
    'entitlements': _Change(_BY_ID, refers=(('subject_id', 'subjects'),)),
    'products': _Change(('project_id', 'id')),
    'product_prices': _Change(refers=(('product_id', 'products'),)),
    'product_terms': _Change(refers=(('product_id', 'products'),)),
    'price_backfills': _Change(refers=(('product_id', 'products'),)),
    'checkout_attempts': _Change(_BY_ID, refers=(('subject_id', 'subjects'), ('product_id', 'products'))),
    'usage_ledger': _Change(refers=(('entitlement_id', 'entitlements'),), without_row_numbers=True),
    'usage_reservations': _Change(_BY_ID),
    'usage_holds': _Change(
        (*_SIDE, 'reservation_id', 'entitlement_id'),
        refers=(('reservation_id', 'usage_reservations'), ('entitlement_id', 'entitlements')),
    ),
    'stripe_events': _Change(_BY_ID, unique=('connection_id', 'event_id')),
    'settling_reads': _Change((*_SIDE, 'object_id')),
    'untracked_checkouts': _Change(
        _BY_ID, unique=('connection_id', 'session_id'), refers=(('subject_id', 'subjects'),)
    ),
    'outbound_events': _Change(_BY_ID, refers=(('subject_id', 'subjects'),)),
    'deliveries': _Change(
        _BY_ID, unique=('endpoint_id', 'event_id'), refers=(('event_id', 'outbound_events'),)
    ),
    'delivery_attempts': _Change(
        (*_SIDE, 'delivery_id', 'number'), refers=(('delivery_id', 'deliveries'),)
    ),
    'lab_steps': _Change(_BY_ID, refers=(('attempt_id', 'checkout_attempts'),)),
    'finished_walks': _Change(_BY_ID),
}
_OLD_INDEXES = (
    ('checkout_attempts', 'ix_checkout_attempts_subject_id'),
    ('checkout_attempts', 'ix_checkout_attempts_connection_id_stripe_subscription_id'),
    ('checkout_attempts', 'uq_checkout_attempts_connection_id_stripe_checkout_session_id'),
    ('deliveries', 'ix_deliveries_event_id'),
    ('deliveries', 'ix_deliveries_project_id_mode_id'),
    ('finished_walks', 'ix_finished_walks_project_id_mode_id'),
    ('outbound_events', 'ix_outbound_events_subject_id'),
    ('purchases', 'ix_purchases_subject_id'),
    ('stripe_events', 'ix_stripe_events_object_id'),
    ('subjects', 'ix_subjects_project_id_mode_id'),
    ('untracked_checkouts', 'ix_untracked_checkouts_project_id_mode_id'),
)


def upgrade() -> None:
    for table, index in _OLD_INDEXES:
        op.drop_index(index, table_name=table)
    _add_columns()
    if op.get_context().dialect.name == 'sqlite':
        for table, change in _CHANGES.items():
            _copy_table(table, change)
    else:
        _change_constraints()
    _create_indexes()
    compatible_since(revision)


def _create_indexes() -> None:
    op.create_index('ix_checkout_attempts_subject_id', 'checkout_attempts', [*_SIDE, 'subject_id'])
    op.create_index(
        'ix_checkout_attempts_stripe_subscription_id',
        'checkout_attempts',
        [*_SIDE, 'stripe_subscription_id'],
    )
    op.create_index(
        'uq_checkout_attempts_stripe_checkout_session_id',
        'checkout_attempts',
        [*_SIDE, 'stripe_checkout_session_id'],
        unique=True,
    )
    op.create_index('ix_deliveries_project_id_mode_event_id', 'deliveries', [*_SIDE, 'event_id'])
    op.create_index('ix_entitlements_project_id_mode_subject_id', 'entitlements', [*_SIDE, 'subject_id'])
    op.create_index('ix_outbound_events_project_id_mode_subject_id', 'outbound_events', [*_SIDE, 'subject_id'])
    op.create_index('ix_purchases_project_id_mode_subject_id', 'purchases', [*_SIDE, 'subject_id'])
    op.create_index('ix_stripe_events_project_id_mode_object_id', 'stripe_events', [*_SIDE, 'object_id', 'id'])
    op.create_index('ix_untracked_checkouts_project_id_mode_purchase_key', 'untracked_checkouts', [*_SIDE, 'purchase_key'])
    op.create_index(
        'ix_settling_reads_with_problem',
        'settling_reads',
        [*_SIDE],
        sqlite_where=sa.text('problem IS NOT NULL'),
        postgresql_where=sa.text('problem IS NOT NULL'),
    )
    op.create_index('ix_usage_holds_project_id_mode_entitlement_id', 'usage_holds', [*_SIDE, 'entitlement_id'])
    op.create_index('ix_payment_links_project_id_mode_purchase_key', 'payment_links', [*_SIDE, 'purchase_key'])


def _add_columns() -> None:
    for table, owners, owner_id in (
        ('usage_holds', 'usage_reservations', 'reservation_id'),
        ('delivery_attempts', 'deliveries', 'delivery_id'),
    ):
        op.add_column(table, sa.Column('project_id', sa.String(), nullable=True))
        op.add_column(table, sa.Column('mode', sa.String(length=32), nullable=True))
        op.execute(
            f'UPDATE {table} SET (project_id, mode) = '
            f'(SELECT owner.project_id, owner.mode FROM {owners} owner WHERE owner.id = {owner_id})'
        )
    # In the order of arrival, and before all that arrive from now on.
    is_sqlite = op.get_context().dialect.name == 'sqlite'
    digits = "printf('%026d', sequence)" if is_sqlite else "lpad(sequence::text, 26, '0')"
    op.add_column('stripe_events', sa.Column('id', sa.String(), nullable=True))
    op.execute(f"UPDATE stripe_events SET id = 'rcv_' || {digits}")


def _copy_table(table: str, change: _Change) -> None:
    """SQLite changes the constraints of a table by copying it: all of them at once."""
    options = {'sqlite_with_rowid': False} if change.without_row_numbers else {}
    with op.batch_alter_table(table, recreate='always', table_kwargs=options) as batch:
        _drop_references(batch, table, change)
        _change_keys(batch, table, change)
        _make_references(batch, table, change)


def _change_constraints() -> None:
    """All references go before the keys that they name are changed, and come back afterwards."""
    for step in (_drop_references, _change_keys, _make_references):
        for table, change in _CHANGES.items():
            with op.batch_alter_table(table) as batch:
                step(batch, table, change)


def _drop_references(batch: BatchOperations, table: str, change: _Change) -> None:
    for column, named in change.refers:
        batch.drop_constraint(f'fk_{table}_{column}_{named}', type_='foreignkey')


def _make_references(batch: BatchOperations, table: str, change: _Change) -> None:
    for column, named in change.refers:
        name = op.f(f'fk_{table}_project_id_{named}')
        within = ('project_id',) if named == 'products' else _SIDE
        batch.create_foreign_key(name, named, [*within, column], [*within, 'id'])


def _change_keys(batch: BatchOperations, table: str, change: _Change) -> None:
    if change.unique:
        # A side has one connection.
        columns = (*_SIDE, *(each for each in change.unique if each != 'connection_id'))
        batch.drop_constraint(f'uq_{table}_{"_".join(change.unique)}', type_='unique')
        batch.create_unique_constraint(op.f(f'uq_{table}_{"_".join(columns)}'), columns)
    if change.primary:
        batch.drop_constraint(f'pk_{table}', type_='primary')
        for column in change.primary:
            batch.alter_column(column, nullable=False)
        batch.create_primary_key(op.f(f'pk_{table}'), change.primary)
    if table == 'stripe_events':
        batch.drop_column('sequence')
