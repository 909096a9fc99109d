"""${message}"""

import sqlalchemy as sa
from alembic import op

from licenzy.db.migrations.compatibility import compatible_since
${imports if imports else ""}
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}
    # The oldest revision whose code works with what this leaves. With this one, older processes are
    # not ready from now on: name an older one, such as '0012', if its code goes on working.
    compatible_since(revision)
