"""subjects found in one step"""

from alembic import op

revision = '0010_subjects_found_in_one_step'
down_revision = '0009_tell_of_walks'
branch_labels = None
depends_on = None

_INDEX = 'uq_subjects_project_id_mode_subject_ref'


def upgrade() -> None:
    if op.get_context().dialect.name == 'sqlite':
        # Copies the table into one without row numbers, whose indexes then lead to the id itself.
        with op.batch_alter_table(
            'subjects', schema=None, recreate='always', table_kwargs={'sqlite_with_rowid': False}
        ):
            pass
        return
    op.drop_index(_INDEX, table_name='subjects')
    op.create_index(
        _INDEX, 'subjects', ['project_id', 'mode', 'subject_ref'], unique=True, postgresql_include=['id']
    )
