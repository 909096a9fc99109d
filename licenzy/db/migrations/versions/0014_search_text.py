"""subjects are searched without case and accents"""

import unicodedata

import sqlalchemy as sa
from alembic import op

from licenzy.db.migrations.compatibility import compatible_since

revision = '0014_search_text'
down_revision = '0013_wrong_passwords'
branch_labels = None
depends_on = None

_BATCH = 5000


def upgrade() -> None:
    # Folded before the table is changed: from then on Postgres lets nobody read it, as long as this lasts.
    folded = _folded_rows()
    with op.batch_alter_table('subjects', schema=None) as batch_op:
        batch_op.add_column(sa.Column('search_text', sa.String(), nullable=True))
    op.execute(
        sa.text(
            'UPDATE subjects SET search_text = '
            '(SELECT folded.search_text FROM subjects_folded folded WHERE folded.id = subjects.id)'
        )
    )
    op.create_index('ix_subjects_project_id_mode_id', 'subjects', ['project_id', 'mode', 'id'], unique=False)
    folded.drop(op.get_bind())
    compatible_since('0012')


def _folded_rows() -> sa.Table:
    """A temporary table with the search text of every subject."""
    db = op.get_bind()
    folded = sa.Table(
        'subjects_folded',
        sa.MetaData(),
        sa.Column('id', sa.String(), primary_key=True),
        sa.Column('search_text', sa.String()),
        prefixes=['TEMPORARY'],
    )
    folded.create(db)
    read = sa.text('SELECT id, subject_ref, email FROM subjects WHERE id > :last ORDER BY id LIMIT :batch')
    last = ''
    while rows := db.execute(read, {'last': last, 'batch': _BATCH}).all():
        texts = [{'id': key, 'search_text': f"{_folded(ref)}\n{_folded(email or '')}"} for key, ref, email in rows]
        db.execute(folded.insert(), texts)
        last = rows[-1].id
    return folded


def _folded(text: str) -> str:
    # As `licenzy.subjects.rules` did when this was written: a migration does not change when that does.
    decomposed = unicodedata.normalize('NFKD', text).casefold()
    return ''.join(each for each in unicodedata.normalize('NFKD', decomposed) if not _is_ignored(each))


def _is_ignored(character: str) -> bool:
    return (
        unicodedata.combining(character) > 0
        or unicodedata.category(character) == 'Cf'
        or '\ufe00' <= character <= '\ufe0f'
    )
