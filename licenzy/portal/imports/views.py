"""Importing what an account sold before: choose, preview, run, and the report."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import abort, flash, request, url_for
from flask.typing import ResponseReturnValue
from sqlmodel import Session

from licenzy.errors import InvalidRequest, LicenzyError
from licenzy.imports import actions, queries
from licenzy.imports.csv_files import checked_csv
from licenzy.imports.models import UNDER_WAY, Import, ImportStep
from licenzy.portal.blueprint import project
from licenzy.portal.forms import TypedForm
from licenzy.portal.guards import Side, project_page
from licenzy.portal.imports.context import import_context, progress_context, start_context
from licenzy.portal.imports.forms import ImportForm, KeysForm, UploadForm, uploaded
from licenzy.portal.respond import go, own_path, show, wants_fragment
from licenzy.runtime import runtime
from licenzy.workspace.models import Role

MOST_COMPARED = 5000
"""Purchases of a preview that a page compares: what each would give is computed for it, about 0.5 ms each."""

ONE = "/imports/<id('imp'):import_id>"
_MOST_CHOSEN = 100


@project.get("/imports")
@project_page(Role.VIEWER)
def imports(side: Side) -> ResponseReturnValue:
    """The newest import, or the form of the first one."""
    with runtime().database.read() as db:
        newest = queries.last_import(db, side.scope)
    if newest is None:
        return show("imports/start.html", **start_context(side))
    return show("imports/page.html", **import_context(side, newest))


@project.get("/imports/new")
@project_page(Role.ADMIN)
def new_import(side: Side) -> ResponseReturnValue:
    """The form of another import."""
    return show("imports/start.html", **start_context(side))


@project.post("/imports/uploads")
@project_page(Role.ADMIN)
def start_import(side: Side) -> ResponseReturnValue:
    """Begin to read the account."""
    form, parts = ImportForm(), runtime()
    if form.validate():
        with form.refusals():
            file = uploaded("map_file")
            map_csv = checked_csv("map", *file) if file is not None else None
            with parts.database.write() as db:
                made = actions.start_import(
                    db,
                    side.scope,
                    actor=side.actor,
                    now=parts.clock(),
                    metadata_keys=form.keys,
                    with_ended=form.with_ended.data,
                    payments_since=form.since,
                    announced=form.announced.data,
                    map_csv=map_csv,
                )
            return to_import(made.id)
    return show("imports/start.html", status=422, **start_context(side, form))


@project.get(ONE)
@project_page(Role.VIEWER)
def one_import(side: Side, import_id: str) -> ResponseReturnValue:
    """An import: how far it is, its preview, or its report."""
    return show("imports/page.html", **import_context(side, found_import(side, import_id)))


@project.get(f"{ONE}/progress")
@project_page(Role.VIEWER)
def import_progress(side: Side, import_id: str) -> ResponseReturnValue:
    """The page's live part; once the import waits for a person or is over, the page anew."""
    import_ = found_import(side, import_id)
    if import_.step not in UNDER_WAY or not wants_fragment():
        return to_import(import_id)
    with runtime().database.read() as db:
        context = progress_context(db, side, import_)
    return show("imports/_now.html", **context)


@project.post(f"{ONE}/uploads")
@project_page(Role.ADMIN)
def upload_map(side: Side, import_id: str) -> ResponseReturnValue:
    """Take another CSV that says whose purchases are, and match anew."""
    import_, form, file = (
        found_import(side, import_id),
        UploadForm(request.form, suffix="map"),
        uploaded("file"),
    )
    with form.refusals():
        if file is None:
            raise InvalidRequest("Choose a CSV file.", hint="")
        checked = checked_csv("map", *file)
        runtime().database.retrying(
            lambda db: actions.give_file(db, side.scope, import_id=import_id, file=checked)
        )
        return to_import(import_id)
    return show("imports/page.html", status=422, **import_context(side, import_, map_form=form))


@project.post(f"{ONE}/keys")
@project_page(Role.ADMIN)
def name_import_keys(side: Side, import_id: str) -> ResponseReturnValue:
    """Name other metadata keys, and match anew."""
    import_, form = found_import(side, import_id), KeysForm()
    with form.refusals():
        runtime().database.retrying(
            lambda db: actions.name_keys(db, side.scope, import_id=import_id, metadata_keys=form.keys)
        )
        return to_import(import_id)
    return show("imports/page.html", status=422, **import_context(side, import_, keys_form=form))


@project.post(f"{ONE}/matching")
@project_page(Role.ADMIN)
def match_import_again(side: Side, import_id: str) -> ResponseReturnValue:
    """Match all purchases anew, as after a price was mapped."""
    do(side, import_id, lambda db: actions.match_again(db, side.scope, import_id=import_id))
    return to_import(import_id)


@project.post(f"{ONE}/assignment")
@project_page(Role.ADMIN)
def assign_purchase(side: Side, import_id: str) -> ResponseReturnValue:
    """Say whose a purchase is: the candidate that was picked, or whoever was typed."""
    found_import(side, import_id)
    key, picked = request.form.get("key", ""), request.form.get("candidate", "")
    ref = request.form.get("subject_ref", "").strip() or picked
    if not ref:
        flash("Choose a customer, or enter a subject_ref.", "error")
    elif do(
        side,
        import_id,
        lambda db: actions.choose(db, side.scope, import_id=import_id, key=key, subject_ref=ref),
    ):
        flash(f"{key} is assigned to {ref}.", "success")
    return _back(import_id)


@project.post(f"{ONE}/proposals")
@project_page(Role.ADMIN)
def accept_import_proposals(side: Side, import_id: str) -> ResponseReturnValue:
    """Accept what e-mail addresses propose."""
    accepted = do(side, import_id, lambda db: actions.accept_proposals(db, side.scope, import_id=import_id))
    if accepted:
        flash(f"{_purchases(accepted)} matched by e-mail address.", "success")
    return _back(import_id)


@project.post(f"{ONE}/leaving-out")
@project_page(Role.ADMIN)
def leave_out_purchases(side: Side, import_id: str) -> ResponseReturnValue:
    """Leave the named purchases out of the import, or take them in again."""
    found_import(side, import_id)
    keys, out = set(request.form.getlist("key")[:_MOST_CHOSEN]), request.form.get("out") != "0"
    if not keys:
        flash("Select the purchases first.", "error")
        return _back(import_id)
    changed = do(
        side,
        import_id,
        lambda db: actions.leave_out(db, side.scope, import_id=import_id, keys=keys, out=out),
    )
    if changed:
        flash(f"{_purchases(changed)} {'left out' if out else 'taken in again'}.", "success")
    return _back(import_id)


@project.post(f"{ONE}/run")
@project_page(Role.ADMIN)
def run_import(side: Side, import_id: str) -> ResponseReturnValue:
    """Let it write what was matched; in live the project's name is typed."""
    import_ = found_import(side, import_id)
    problem = TypedForm().problem(side.mode, side.project.name, "the project’s name")
    if problem is not None:
        return show("imports/page.html", status=422, **import_context(side, import_, run_error=problem))
    about: dict[str, Any] = {"import_id": import_id, "actor": side.actor, "now": runtime().clock()}
    shown = request.form.get("matched", -1, type=int)  # A form without the number has shown none.
    do(side, import_id, lambda db: actions.run_import(db, side.scope, matched=shown, **about))
    return to_import(import_id)


@project.post(f"{ONE}/stop")
@project_page(Role.ADMIN)
def stop_import(side: Side, import_id: str) -> ResponseReturnValue:
    """End it before its end; what it has written stays."""
    about: dict[str, Any] = {"import_id": import_id, "actor": side.actor, "now": runtime().clock()}
    do(side, import_id, lambda db: actions.stop_import(db, side.scope, **about))
    return to_import(import_id)


@project.post(f"{ONE}/access-list/uploads")
@project_page(Role.ADMIN)
def upload_access_list(side: Side, import_id: str) -> ResponseReturnValue:
    """Take the merchant's own list of who has access."""
    import_, file = found_import(side, import_id), uploaded("file")
    form = UploadForm(request.form, suffix="compare")
    with form.refusals():
        if import_.step is ImportStep.STOPPED:
            raise InvalidRequest("This import was stopped.", hint="Compare with another one.")
        if import_.step is ImportStep.PREVIEW and import_.rows > MOST_COMPARED:
            raise InvalidRequest(
                f"{import_.rows:,} purchases are too many to compare on a page before they are imported.",
                hint="Use licenzy import with --compare and --dry-run, or compare here after the import.",
            )
        if file is None:
            raise InvalidRequest("Choose a CSV file.", hint="")
        checked = checked_csv("compare", *file)
        runtime().database.retrying(
            lambda db: actions.keep_file(db, side.scope, import_id=import_id, file=checked)
        )
        return go(url_for("portal.project.import_differences", import_id=import_id))
    return show("imports/page.html", status=422, **import_context(side, import_, compare_form=form))


def found_import(side: Side, import_id: str) -> Import:
    """The import of this side with this id; else the page is not found."""
    with runtime().database.read() as db:
        import_ = queries.import_by_id(db, side.scope, import_id=import_id)
    if import_ is None:
        abort(404)
    return import_


def do(side: Side, import_id: str, act: Callable[[Session], Any]) -> Any:
    """Do something to an import that the worker may be writing too; what is refused is flashed.

    Gives what `act` gave, True where that is nothing, and None where it was refused.
    """
    found_import(side, import_id)
    try:
        given = runtime().database.retrying(act)
    except LicenzyError as refused:
        said = [f"{name} {problem}." for name, problem in refused.fields.items()] or [
            part for part in (refused.message, refused.hint) if part
        ]
        flash(" ".join(said), "error")
        return None
    return True if given is None else given


def to_import(import_id: str) -> ResponseReturnValue:
    """To the page of an import."""
    return go(url_for("portal.project.one_import", import_id=import_id))


def _back(import_id: str) -> ResponseReturnValue:
    """To the part of the list from which a form was sent."""
    page = url_for("portal.project.one_import", import_id=import_id)
    return go(own_path(request.form.get("back"), otherwise=page))


def _purchases(count: int) -> str:
    return "1 purchase is" if count == 1 else f"{count:,} purchases are"
