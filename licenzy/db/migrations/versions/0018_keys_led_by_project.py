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
    """The columns of the unique constraint that gets the project before them."""
    refers: tuple[tuple[str, str], ...] = ()
    """Columns that name a row of another table by its id, and that table."""
    without_row_numbers: bool = False
    """On SQLite."""


_BY_ID = ('project_id', 'id')
_CHANGES = {
    'subjects': _Change(_BY_ID, without_row_numbers=True),
    'purchases': _Change(refers=(('subject_id', 'subjects'),)),
    'facts': _Change(_BY_ID),
    'entitlements': _Change(_BY_ID, refers=(('subject_id', 'subjects'),)),
    'checkout_attempts': _Change(_BY_ID, refers=(('subject_id', 'subjects'),)),
    'usage_ledger': _Change(refers=(('entitlement_id', 'entitlements'),), without_row_numbers=True),
    'usage_reservations': _Change(_BY_ID),
    'usage_holds': _Change(
        ('project_id', 'reservation_id', 'entitlement_id'),
        refers=(('reservation_id', 'usage_reservations'), ('entitlement_id', 'entitlements')),
    ),
    'stripe_events': _Change(_BY_ID, unique=('connection_id', 'event_id')),
    'settling_reads': _Change(('project_id', 'connection_id', 'object_id')),
    'untracked_checkouts': _Change(
        _BY_ID, unique=('connection_id', 'session_id'), refers=(('subject_id', 'subjects'),)
    ),
    'outbound_events': _Change(_BY_ID, refers=(('subject_id', 'subjects'),)),
    'deliveries': _Change(
        _BY_ID, unique=('endpoint_id', 'event_id'), refers=(('event_id', 'outbound_events'),)
    ),
    'delivery_attempts': _Change(
        ('project_id', 'delivery_id', 'number'), refers=(('delivery_id', 'deliveries'),)
    ),
    'lab_steps': _Change(_BY_ID, refers=(('attempt_id', 'checkout_attempts'),)),
    'finished_walks': _Change(_BY_ID),
}
_SESSION_OF_ATTEMPT = 'uq_checkout_attempts_connection_id_stripe_checkout_session_id'


def upgrade() -> None:
    op.drop_index(_SESSION_OF_ATTEMPT, table_name='checkout_attempts')
    _add_columns()
    if op.get_context().dialect.name == 'sqlite':
        for table, change in _CHANGES.items():
            _copy_table(table, change)
    else:
        _change_constraints()
    op.create_index(
        'uq_checkout_attempts_stripe_checkout_session_id',
        'checkout_attempts',
        ['project_id', 'connection_id', 'stripe_checkout_session_id'],
        unique=True,
    )
    compatible_since(revision)


def _add_columns() -> None:
    for table, owners, owner_id in (
        ('usage_holds', 'usage_reservations', 'reservation_id'),
        ('delivery_attempts', 'deliveries', 'delivery_id'),
    ):
        op.add_column(table, sa.Column('project_id', sa.String(), nullable=True))
        op.execute(
            f'UPDATE {table} SET project_id = (SELECT owner.project_id FROM {owners} owner WHERE owner.id = {owner_id})'
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
        batch.create_foreign_key(name, named, ['project_id', column], ['project_id', 'id'])


def _change_keys(batch: BatchOperations, table: str, change: _Change) -> None:
    if change.unique:
        columns = ('project_id', *change.unique)
        batch.drop_constraint(f'uq_{table}_{"_".join(change.unique)}', type_='unique')
        batch.create_unique_constraint(op.f(f'uq_{table}_{"_".join(columns)}'), columns)
    if change.primary:
        batch.drop_constraint(f'pk_{table}', type_='primary')
        for column in change.primary:
            batch.alter_column(column, nullable=False)
        batch.create_primary_key(op.f(f'pk_{table}'), change.primary)
    if table == 'stripe_events':
        batch.drop_column('sequence')
