"""What a person does with an import: start it, give it files, decide what is open, let it write, stop it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete, update
from sqlmodel import Session

from licenzy.connections.models import Connection
from licenzy.connections.queries import connection_of
from licenzy.db.upsert import insert_or_change, insert_unless_there, table_of
from licenzy.errors import InvalidRequest, NotFound, StripeNotConnected
from licenzy.imports import queries
from licenzy.imports.csv_files import CheckedCsv
from licenzy.imports.models import READING, Import, ImportFile, ImportOutcome, ImportRow, ImportStep
from licenzy.kit.ids import new_id
from licenzy.projects.scope import Scope
from licenzy.subjects.rules import ref_problem
from licenzy.workspace.audit import Actor, record

_ROWS = table_of(ImportRow)
MOST_KEYS = 10
_NOBODYS = frozenset({"own_checkout", "other_project", "unread"})
"""Why a purchase is unmatched, whoever a person may think of."""


def start_import(
    db: Session,
    scope: Scope,
    *,
    actor: Actor,
    now: datetime,
    metadata_keys: Sequence[str] = (),
    with_ended: bool = False,
    payments_since: datetime | None = None,
    announced: bool = False,
    map_csv: CheckedCsv | None = None,
) -> Import:
    """Begin to read the account of this side; the worker goes on with it.

    Raises StripeNotConnected, and InvalidRequest for a wrong key, and while another import is open.
    """
    connection = connection_of(db, scope)
    if connection is None or connection.key_sealed is None:
        raise StripeNotConnected
    import_id = new_id("imp")
    row = {
        "project_id": scope.project_id,
        "mode": scope.mode,
        "id": import_id,
        "connection_id": connection.id,
        "account_id": connection.account_id,
        "step": ImportStep.SUBSCRIPTIONS,
        "metadata_keys": _checked_keys(metadata_keys),
        "with_ended": with_ended,
        "payments_since": payments_since,
        "announced": announced,
        "seen": 0,
        "rows": 0,
        "tries": 0,
        "started_by": actor.user_id,
        "started_at": now,
    }
    if not insert_unless_there(db, Import, row):  # There is at most one that is open.
        raise InvalidRequest("An import of this mode is open.", hint="Finish or stop it first.")
    import_ = queries.locked_import(db, scope, import_id=import_id)
    assert import_ is not None
    if map_csv is not None:
        keep_file(db, scope, import_id=import_id, file=map_csv)
    after = {"metadata_keys": import_.metadata_keys, "ended": with_ended, "map": bool(map_csv)}
    _audit(db, import_, "import.start", actor, now, after)
    return import_


def record_export(
    db: Session, scope: Scope, *, import_id: str, what: str, actor: Actor, now: datetime
) -> None:
    """Note who takes an import's `purchases` or `differences` away as a file. Raises NotFound."""
    import_ = queries.import_by_id(db, scope, import_id=import_id)
    if import_ is None:
        raise NotFound("This import does not exist.")
    _audit(db, import_, "import.exported", actor, now, {"file": what})


def _checked_keys(keys: Sequence[str]) -> list[str]:
    kept = list(dict.fromkeys(key.strip() for key in keys if key.strip()))
    wrong = next((key for key in kept if len(key) > 40 or not key.isprintable()), None)
    if wrong is not None or len(kept) > MOST_KEYS:
        raise InvalidRequest(
            fields={"metadata_keys": f"must be at most {MOST_KEYS} keys of at most 40 characters"}
        )
    return kept


def give_file(db: Session, scope: Scope, *, import_id: str, file: CheckedCsv) -> None:
    """Keep a CSV that says whose purchases are; they are matched anew. Raises InvalidRequest."""
    import_ = _open(db, scope, import_id)
    _refuse_while_writing(import_)
    keep_file(db, scope, import_id=import_id, file=file)
    _match_anew(import_)


def keep_file(db: Session, scope: Scope, *, import_id: str, file: CheckedCsv) -> None:
    """Keep a CSV beside an import, in the place of the last one of its kind."""
    row = {
        "project_id": scope.project_id,
        "mode": scope.mode,
        "import_id": import_id,
        "kind": file.kind,
        "name": file.name,
        "content": file.text,
        "version": 1,
    }
    insert_or_change(db, ImportFile, row, replaced=("name", "content"), added=("version",))


def name_keys(db: Session, scope: Scope, *, import_id: str, metadata_keys: Sequence[str]) -> None:
    """Name other metadata keys, by which the purchases are matched anew. Raises InvalidRequest."""
    import_ = _open(db, scope, import_id)
    _refuse_while_writing(import_)
    import_.metadata_keys = _checked_keys(metadata_keys)
    _match_anew(import_)


def match_again(db: Session, scope: Scope, *, import_id: str) -> None:
    """Match all purchases anew, as after a price was mapped."""
    import_ = _open(db, scope, import_id)
    _refuse_while_writing(import_)
    _match_anew(import_)


def _match_anew(import_: Import) -> None:
    # What was matched before, while it was being matched, is matched once more as well.
    if import_.step in {ImportStep.PREVIEW, ImportStep.MATCH}:
        import_.step, import_.seen = ImportStep.MATCH, 0


def is_to_choose(row: ImportRow) -> bool:
    """Whether a person may say whose a purchase is."""
    is_open = row.outcome in {ImportOutcome.AMBIGUOUS, ImportOutcome.UNMATCHED, ImportOutcome.MATCHED}
    return is_open and row.reason not in _NOBODYS


def choose(db: Session, scope: Scope, *, import_id: str, key: str, subject_ref: str) -> None:
    """Say whose an ambiguous or unmatched purchase is. Raises InvalidRequest and NotFound."""
    _in_preview(db, scope, import_id)
    problem = ref_problem(subject_ref)
    if problem is not None:
        raise InvalidRequest(fields={"subject_ref": problem})
    row = queries.row_of(db, scope, import_id=import_id, key=key)
    if row is None:
        raise NotFound("This purchase is not in the import.")
    if not is_to_choose(row):
        raise InvalidRequest("Nobody can be chosen for this purchase.", hint="")
    row.outcome, row.reason, row.matched_by = ImportOutcome.MATCHED, None, "person"
    row.subject_ref, row.chosen, row.left_out = subject_ref, True, False
    db.add(row)
    db.flush()


def accept_proposals(db: Session, scope: Scope, *, import_id: str) -> int:
    """Accept what e-mail addresses propose wherever they name one customer only; how many those are."""
    _in_preview(db, scope, import_id)
    accepted = 0
    number = 0
    while rows := queries.rows_from(db, scope, import_id=import_id, number=number, limit=500):
        for row in rows:
            is_proposed = row.outcome is ImportOutcome.AMBIGUOUS and row.reason == "email_only"
            if is_proposed and len(row.candidates) == 1 and not row.left_out:
                row.outcome, row.reason, row.matched_by = ImportOutcome.MATCHED, None, "csv_email"
                row.subject_ref, row.chosen = row.candidates[0], True
                db.add(row)
                accepted += 1
        number = rows[-1].number + 1
        db.flush()
        db.expunge_all()
    return accepted


def leave_out(db: Session, scope: Scope, *, import_id: str, keys: Collection[str], out: bool = True) -> int:
    """Leave purchases out of the import by name, or take them in again; how many that changed."""
    _in_preview(db, scope, import_id)
    changed = 0
    names = sorted(keys)
    for first in range(0, len(names), 500):
        statement = update(_ROWS).where(
            _ROWS.c.project_id == scope.project_id,
            _ROWS.c.mode == scope.mode,
            _ROWS.c.import_id == import_id,
            _ROWS.c.key.in_(names[first : first + 500]),
            _ROWS.c.left_out.is_(not out),
        )
        changed += db.connection().execute(statement.values(left_out=out)).rowcount
    return changed


def run_import(
    db: Session, scope: Scope, *, import_id: str, actor: Actor, now: datetime, matched: int | None = None
) -> None:
    """Let an import write what was matched; the worker does it.

    `matched` is the number of purchases that a person was shown. Raises InvalidRequest where it is another by
    now, while something is ambiguous that nobody has left out, and where nothing is matched.
    """
    import_ = _in_preview(db, scope, import_id)
    require_same_account(import_, connection_of(db, scope))
    counts = queries.counts_of(db, scope, import_id=import_id)
    if matched is not None and matched != counts[ImportOutcome.MATCHED]:
        raise InvalidRequest(
            "The number of matched purchases has changed since this page was opened.",
            hint="Nothing was written. Check the numbers and run the import again.",
        )
    if counts[ImportOutcome.AMBIGUOUS]:
        raise InvalidRequest(
            f"{counts[ImportOutcome.AMBIGUOUS]:,} purchases are ambiguous.",
            hint="Say whose they are, or leave them out by name. Nothing was written.",
        )
    if not counts[ImportOutcome.MATCHED]:
        raise InvalidRequest(
            "No purchase is matched.", hint="Name a metadata key, or give a CSV. Nothing was written."
        )
    import_.step, import_.run_by, import_.run_at = ImportStep.RUN, actor.user_id, now
    _audit(db, import_, "import.run", actor, now, counts)


def require_same_account(import_: Import, connection: Connection | None) -> None:
    """Raise InvalidRequest where the connection is to another account than the import has read.

    It is the same while the key is, and with another key as far as Stripe says whose both are.
    """
    saved_at = connection.key_saved_at if connection is not None else None
    has_same_key = saved_at is not None and saved_at <= import_.started_at
    account_id = connection.account_id if connection is not None else None
    if not has_same_key and (account_id is None or account_id != import_.account_id):
        raise InvalidRequest(
            "The connection is to another Stripe account than this import.",
            hint="Connect the account that it has read again, or stop the import.",
        )


def stop_import(db: Session, scope: Scope, *, import_id: str, actor: Actor, now: datetime) -> None:
    """End an import before its end; what it has written stays. Raises NotFound."""
    import_ = _open(db, scope, import_id)
    import_.step, import_.ended_at, import_.leased_until = ImportStep.STOPPED, now, None
    forget_content(db, import_)
    _audit(db, import_, "import.stop", actor, now, queries.results_of(db, scope, import_id=import_id))


def forget_content(db: Session, import_: Import) -> None:
    """Drop what was only kept for writing: what Stripe said, metadata and the CSV of customers."""
    rows = update(_ROWS).where(
        _ROWS.c.project_id == import_.project_id,
        _ROWS.c.mode == import_.mode,
        _ROWS.c.import_id == import_.id,
    )
    db.connection().execute(rows.values(found=None, named={}))
    files = table_of(ImportFile)
    db.connection().execute(
        delete(files).where(
            files.c.project_id == import_.project_id,
            files.c.mode == import_.mode,
            files.c.import_id == import_.id,
            files.c.kind == "map",
        )
    )


def _open(db: Session, scope: Scope, import_id: str) -> Import:
    import_ = queries.locked_import(db, scope, import_id=import_id)
    if import_ is None:
        raise NotFound("This import does not exist.")
    if import_.ended_at is not None:
        raise InvalidRequest("This import is over.", hint="Start another one.")
    return import_


def _in_preview(db: Session, scope: Scope, import_id: str) -> Import:
    import_ = _open(db, scope, import_id)
    if import_.step in READING or import_.step is ImportStep.MATCH:
        raise InvalidRequest("The account is still being read.", hint="Wait for the preview.")
    _refuse_while_writing(import_)
    return import_


def _refuse_while_writing(import_: Import) -> None:
    if import_.step is ImportStep.RUN:
        raise InvalidRequest("This import is being written.", hint="Wait until it is done, or stop it.")


def _audit(
    db: Session, import_: Import, action: str, actor: Actor, now: datetime, after: dict[str, Any]
) -> None:
    record(
        db,
        actor=actor,
        action=action,
        about=import_.id,
        after=after,
        now=now,
        project_id=import_.project_id,
        mode=import_.mode,
    )
