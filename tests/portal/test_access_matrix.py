"""Who may open what: every page, fragment and form of the portal, by every visitor, with every id.

The right answers come from `access_table.py`, which is written by hand and knows nothing of the decorators.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from flask import Flask
from werkzeug.routing import Rule
from werkzeug.test import TestResponse

from licenzy.factory import create_app, sandbox_app
from licenzy.workspace.models import Role
from tests.conftest import make_settings
from tests.portal.access_cells import Cell, Right, Row
from tests.portal.access_records import PAYLOAD, SITES, WORKSPACE_OF, Site
from tests.portal.access_scene import AccessScene, without, without_findings
from tests.portal.access_table import TABLE, Access
from tests.support.clock import StandingClock
from tests.support.databases import SqliteFiles
from tests.support.servers import served
from tests.support.visits import location

ANSWERED = {"GET": {200, 204, 286, 303}, "POST": {200, 201, 204, 303, 409, 422}}
FEWEST_CELLS = 4000


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, sqlite_files: SqliteFiles) -> Iterator[AccessScene]:
    folder = tmp_path_factory.mktemp("access")
    settings = make_settings(folder, sqlite_files.fresh(folder))
    # Browsers take passkeys at a name only.
    settings = replace(settings, base_url=f"http://localhost:{settings.port}")
    sandbox = sandbox_app(settings)
    with served(sandbox, port=settings.port + 1):
        application = create_app(settings, clock=StandingClock())
        made = AccessScene(application)
        yield made
        made.close()
        application.extensions["licenzy"].database.close()
    sandbox.close()


def rules_of(app: Flask) -> dict[str, list[Rule]]:
    """The rules of the portal by their lines in the table."""
    found: dict[str, list[Rule]] = {}
    for rule in app.url_map.iter_rules():
        if rule.endpoint.startswith("portal."):
            for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
                found.setdefault(f"{method} {rule.endpoint.removeprefix('portal.')}", []).append(rule)
    return found


def rows_of(line: str, scene: AccessScene) -> list[Row]:
    rules = rules_of(scene.app)[line]
    return [Row(line.partition(" ")[0], TABLE[line], rule, scene.records) for rule in rules]


def test_every_rule_has_a_line_and_every_line_a_rule(scene: AccessScene) -> None:
    rules = rules_of(scene.app)
    assert set(rules) - set(TABLE) == set(), "add them to access_table.py"
    assert set(TABLE) - set(rules) == set(), "access_table.py names what does not exist"


@pytest.mark.parametrize("line", TABLE)
def test_everybody_is_answered_as_the_table_says(scene: AccessScene, line: str) -> None:
    wrong, asked = [], 0
    for row in rows_of(line, scene):
        for cell in row.cells():
            asked += 1
            wrong += [f"{cell}\n    {problem}" for problem in problems(scene, row, cell)]
    assert not wrong, "\n".join(wrong)
    assert asked >= 3


def test_the_matrix_is_not_small(scene: AccessScene) -> None:
    cells = [cell for line in TABLE for row in rows_of(line, scene) for cell in row.cells()]
    assert len(cells) >= FEWEST_CELLS
    assert {cell.right for cell in cells} == set(Right)
    refused = {Right.SIGN_IN, Right.FORBIDDEN, Right.NOT_FOUND}
    assert sum(cell.right in refused for cell in cells) >= FEWEST_CELLS // 2


def problems(scene: AccessScene, row: Row, cell: Cell) -> Iterator[str]:
    """What is wrong with the answer to a cell; afterwards everything is as it was."""
    if cell.right is not Right.FORBIDDEN:
        scene.restore()
    answer = scene.ask(cell.visitor, row.method, cell.path, cell.sent, htmx=cell.htmx)
    if cell.right not in {Right.ALLOWED, Right.DIFFERENT} and (changed := scene.changes()):
        yield f"it changed {changed}"
    if cell.right is not Right.FORBIDDEN:
        scene.restore()
    yield from _wrong_status(row.access, row.method, cell, answer)
    yield from _unlike(scene, row, cell, answer)
    yield from _shown(row.access, cell, answer)
    if cell.right is Right.ALLOWED and not row.access.public and cell.visitor in set(Role):
        yield from _offered(scene, Role(cell.visitor), answer)


def _offered(scene: AccessScene, role: Role, answer: TestResponse) -> Iterator[str]:
    """Forms on the page that this role may not send."""
    for method, endpoint in scene.offers(answer):
        line = f"{method} {endpoint.removeprefix('portal.')}"
        least = TABLE[line].least if line in TABLE else None
        if least is not None and not role.at_least(least):
            yield f"offers {line}"


def _wrong_status(access: Access, method: str, cell: Cell, answer: TestResponse) -> Iterator[str]:
    status, to = answer.status_code, answer.headers.get("HX-Redirect") or ""
    if status == 303 and not answer.headers["Location"].startswith("http://127.0.0.1"):
        to = location(answer)
    redirect = 204 if cell.htmx else 303
    expected = {
        Right.SIGN_IN: {redirect},
        Right.CONFIRM: {redirect},
        Right.FORBIDDEN: {403},
        Right.NOT_FOUND: {404},
        Right.SAME: ANSWERED[method] | {404},
    }.get(cell.right, ANSWERED[method] | set(access.also))
    if status not in expected:
        yield f"status {status} {to}"
    for right, page in ((Right.SIGN_IN, "/sign-in"), (Right.CONFIRM, "/account/confirm")):
        wanted = cell.right is right or (cell.right is Right.ALLOWED and access.leads == page)
        if to.startswith(page) is not wanted and not access.public:
            yield f"leads to {to or 'no page'}"


def _unlike(scene: AccessScene, row: Row, cell: Cell, answer: TestResponse) -> Iterator[str]:
    if cell.like is None:
        return
    if cell.like == (cell.path, cell.sent):
        scene.remember(answer, cell.visitor, row.method, cell.path, cell.sent)
        return
    missing = scene.compared(cell.visitor, row.method, *cell.like, htmx=cell.htmx)
    is_same = scene.comparable(answer, cell.sent) == missing
    if is_same is (cell.right is Right.DIFFERENT):
        said = missing.partition("\n")[0]
        yield f"{'like' if is_same else 'unlike'} the answer to {cell.like}: {said}"


def _shown(access: Access, cell: Cell, answer: TestResponse) -> Iterator[str]:
    """What the answer shows and must not."""
    whole = answer.text.casefold()
    if cell.right is Right.FORBIDDEN:
        found = [each for each in (*cell.ids, cell.site.mark) if each.casefold() in whole]
        if found:
            yield f"shows {found}"
    text = without(whole, tuple(each.casefold() for each in cell.ids))
    plain = without_findings(text)
    shown = [
        site.mark
        for site in SITES
        if not _may_see(access, cell, site)
        and site.mark in (plain if site.project == cell.site.project else text)
    ]
    others = ("zqours", "zqsibling") if cell.visitor == "stranger" else ("zqtheirs",)
    shown += [mark for mark in others if mark in text]
    if shown:
        yield f"shows {shown}"
    role = cell.visitor.partition(",")[0]
    sees_payloads = role in {Role.SUPPORT, Role.ADMIN, Role.OWNER}
    if PAYLOAD in text and not (sees_payloads and access.payload):
        yield "shows a payload"
    if (
        access.payload
        and sees_payloads
        and cell.right is Right.ALLOWED
        and PAYLOAD not in text
        and not cell.htmx
    ):
        yield "shows no payload"


def _may_see(access: Access, cell: Cell, site: Site) -> bool:
    """Whether an answer may tell of this side: of pages outside of a project, those of the workspace."""
    if not cell.path.startswith("/projects/prj_"):
        home = "theirs" if cell.visitor == "stranger" else "ours"
        return WORKSPACE_OF[site.project] == home
    is_told = access.both_modes or (access.finds_other_mode and cell.why.endswith("of the other mode"))
    return site.project == cell.site.project and (site.mode is cell.site.mode or is_told)
