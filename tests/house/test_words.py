"""Names are the field's words: what code, templates and files may not be called.

A reader who knows Flask, SQLAlchemy and Stripe must need no dictionary of this code’s own. Refused are names
of files and of definitions (classes, functions, parameters, attributes, tables, bound parameters, macros);
local variables are free.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def _words(text: str) -> set[str]:
    return set(text.split())


SAYS_NOTHING = _words("utils util helpers helper common manager service base misc")

MODULES = _words(
    """
    announcing beside books by_hand doorstep gate gathering guide happenings haste healing keeper lasting
    leash line listening looking misbehaviour news once pacing panels plain possible sale sealed shell story
    strip telling town trying visitors weighing wire writer written
    """
)
"""Names that no module, template or static file may have."""

NAMES = _words(
    """
    About Because Beside Books Checked Desk Exchange Hand Line Look Order Piece Seal Spotted SqliteWriter Till
    Watch WritersLine
    aloud became books came desk exchange furnish hand happenings heard held hold_leash lapsed look
    telling this till told
    """
)
"""Names that no definition may have, with or without underscores before them."""

PARTS = _words(
    """
    aloud beside doorstep furnish happening happenings heard held lapsed leash misbehaviour spotted tell tells
    told
    """
)
"""Words that no name of a definition or file may have among its parts."""

ALLOWED = {
    "held_in_other_mode": "a reason that the API answers with, which its clients know",
    "product_not_held": "a reason that the API answers with, which its clients know",
    "feature_not_held": "a reason that the API answers with, which its clients know",
}

ALLOWED_FILES = {
    "tests/journeys/test_guide.py": "it follows docs/connect-stripe.md, which is a guide",
    "templates/base.html": "what Jinja's own guide calls the page that others extend",
}

NOT_YET = """
licenzy/__main__.py: _UNTIL_TOLD
licenzy/alignment/findings.py: About Look Spotted spotted
licenzy/alignment/matrix.py: tell
licenzy/alignment/rules/catalog.py: look
licenzy/alignment/rules/connection.py: look
licenzy/alignment/rules/keys.py: look
licenzy/alignment/rules/traffic.py: look
licenzy/alignment/rules/webhook.py: look
licenzy/api/access.py: _told
licenzy/api/answers.py: Checked
licenzy/api/entitlements.py: _held held
licenzy/api/metrics.py: _Told told
licenzy/api/misuse.py: hint_for_nothing_held
licenzy/api/operations.py: told
licenzy/api/reservations.py: told
licenzy/api/schemas.py: _told
licenzy/api/usage.py: _return_lapsed
licenzy/catalog/actions.py: _told
licenzy/cli/demo.py: _tell
licenzy/cli/doctor.py: _tell _told
licenzy/cli/endpoints.py: _desk
licenzy/cli/healing.py: _tell _tell_differences healing.py
licenzy/cli/leash.py: _held leash.py
licenzy/cli/plain.py: plain.py
licenzy/cli/ports.py: held_port
licenzy/cli/seeding.py: _told
licenzy/cli/serve.py: leash leash_option
licenzy/cli/story.py: story.py tell told
licenzy/connections/rate_limit.py: _held pacing.py
licenzy/connections/rules.py: _TOLD_COMPLETE
licenzy/connections/credentials.py: sealed.py
licenzy/connections/records.py: told written.py
licenzy/db/background_batch.py: Beside beside.py
licenzy/db/failures.py: _told
licenzy/db/postgres.py: was_told
licenzy/db/upsert.py: telling
licenzy/db/write_lock.py: held
licenzy/deliveries/actions.py: Desk desk
licenzy/deliveries/claims.py: _TOLD became came this
licenzy/deliveries/outbox.py: desk happening happenings told
licenzy/deliveries/rules.py: Happening happening
licenzy/entitlements/actions.py: _held_purchase is_heard
licenzy/entitlements/events.py: Because announcing.py is_heard
licenzy/entitlements/decision.py: Held held
licenzy/entitlements/grants.py: Hand hand held
licenzy/entitlements/fact_events.py: news.py tells
licenzy/entitlements/ordering.py: told
licenzy/entitlements/queries.py: was_told
licenzy/entitlements/reversals.py: told
licenzy/hotpath/snapshot.py: _HELD held
licenzy/hotpath/with_events.py: _tell
licenzy/idempotency/actions.py: _IS_HELD _held _this
licenzy/kit/secret_box.py: SecretBox
licenzy/kit/stopping.py: _told held_back
licenzy/lab/actions.py: _told
licenzy/lab/scenarios.py: HAPPENINGS Happening happenings happenings.py
licenzy/lab/rules.py: HeldThen Told _held happening held told
licenzy/lab/access_timeline.py: strip.py
licenzy/portal/by_hand.py: _hand by_hand.py hand
licenzy/portal/customer_page.py: held
licenzy/portal/deliveries.py: _told
licenzy/portal/forms/by_hand.py: by_hand.py
licenzy/portal/forms/trying.py: trying.py
licenzy/portal/guide.py: guide.py
licenzy/portal/history.py: Line _Told told
licenzy/portal/lab.py: happening
licenzy/portal/lists.py: beside pages_beside
licenzy/portal/panels.py: panels.py
licenzy/portal/reconciliation.py: Told _told
licenzy/portal/reference.py: told
licenzy/portal/shell.py: furnish shell.py
licenzy/portal/trying.py: trying.py
licenzy/portal/untracked.py: _hand
licenzy/portal/visitors.py: visitors.py
licenzy/reconciliation/walk.py: _tell _tell_once _told tell
licenzy/sandbox/accounts.py: misbehaviour
licenzy/sandbox/actions.py: books
licenzy/sandbox/api/account.py: books
licenzy/sandbox/api/catalog.py: books
licenzy/sandbox/api/customers.py: books
licenzy/sandbox/api/endpoints.py: books
licenzy/sandbox/api/events.py: books
licenzy/sandbox/api/expand.py: books
licenzy/sandbox/api/gate.py: gate.py held
licenzy/sandbox/api/invoices.py: books
licenzy/sandbox/api/once.py: once.py
licenzy/sandbox/api/payments.py: books
licenzy/sandbox/api/selling.py: books
licenzy/sandbox/api/sessions.py: books
licenzy/sandbox/api/subscriptions.py: books
licenzy/sandbox/books.py: Books books.py
licenzy/sandbox/console.py: _books books
licenzy/sandbox/console_rows.py: books told
licenzy/sandbox/control.py: _tell_account _tell_purchase _told
licenzy/sandbox/hosted.py: books
licenzy/sandbox/keeper.py: keeper.py
licenzy/sandbox/lifecycle/checkout.py: books
licenzy/sandbox/lifecycle/clock.py: books
licenzy/sandbox/lifecycle/disputes.py: books
licenzy/sandbox/lifecycle/invoices.py: books
licenzy/sandbox/lifecycle/payments.py: books
licenzy/sandbox/lifecycle/plans.py: books held
licenzy/sandbox/lifecycle/refunds.py: books
licenzy/sandbox/lifecycle/subscriptions.py: books
licenzy/sandbox/misbehaviour.py: misbehaviour.py
licenzy/sandbox/pages.py: told
licenzy/sandbox/params.py: held
licenzy/sandbox/possible.py: _held books possible.py
licenzy/sandbox/shapes/catalog.py: books
licenzy/sandbox/shapes/checkout.py: books
licenzy/sandbox/shapes/customers.py: books
licenzy/sandbox/shapes/endpoints.py: books
licenzy/sandbox/shapes/invoices.py: books
licenzy/sandbox/shapes/payments.py: books
licenzy/sandbox/shapes/subscriptions.py: books
licenzy/server/front.py: _tell
licenzy/server/processes.py: _told
licenzy/server/proxies.py: _told
licenzy/server/refusals.py: Told told
licenzy/setup/fact_collector.py: _told_events gathering.py look told
licenzy/setup/webhook_wait.py: listening.py
licenzy/setup/stripe_probe.py: looking.py
licenzy/stripe_events/adoption.py: hand
licenzy/stripe_events/lookup.py: _held is_heard look
licenzy/stripe_events/pipeline.py: apply_told told
licenzy/stripe_events/place.py: is_heard place_told
licenzy/stripe_events/receive.py: became
licenzy/stripe_events/settling.py: _held _last_told_at last_told_at
licenzy/stripe_gateway/answers.py: told
licenzy/stripe_gateway/pace.py: told
licenzy/stripe_gateway/shapes.py: _STATUS_TOLD_BY
licenzy/usage/access.py: held
licenzy/usage/actions.py: _return_lapsed beside return_lapsed return_next_lapsed
licenzy/usage/queries.py: _held_by _held_by_refs _lapsed _lapsed_units beside held held_by_ref held_by_refs
licenzy/usage/queries.py: lapsed_by_pack next_lapsed
licenzy/usage/rules.py: held
licenzy/usage/events.py: happenings tell_consumed telling.py
licenzy/wire.py: wire.py
licenzy/worker/loop.py: _return_lapsed_units
licenzy/workspace/throttling.py: Look look
static/css/by_hand.css: by_hand.css
templates/lab/_step.html: told
templates/lab/_access_timeline.html: _strip.html
templates/setup/_catalog.html: told
tests/cli/test_healing.py: test_healing.py
tests/connections/test_credentials.py: test_sealed.py
tests/deliveries/test_events.py: hand test_announcing.py
tests/deliveries/test_late_outcomes.py: desk
tests/entitlements/test_grants.py: hand
tests/portal/test_by_hand.py: test_by_hand.py
tests/sandbox/test_possible.py: test_possible.py
tests/stripe_events/test_adoption.py: hand
tests/usage/test_histories.py: hand
"""
"""By file the names that are still to be changed. An entry that is no longer needed fails."""

TWICE_YET = _words(
    """
    Answer Body Button Claim Committed Connection Consumed Difference EndpointForm Entitlement Happening
    Incoming Look Offer Operation Outcome Pack Page RateLimited Received Refused Released Reply Reserved
    Row Scope Sender SetAside Sighting Step Told _Told
    """
)
"""Classes whose name two things have; it only shrinks."""


def parts(name: str) -> list[str]:
    """The words of a name in snake_case, CamelCase or kebab-case."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    return [part for part in re.split(r"[^a-z0-9]+", spaced.lower()) if part]


def is_refused(name: str) -> bool:
    return name not in ALLOWED and (name.lstrip("_") in NAMES or bool(PARTS & set(parts(name))))


def is_refused_for_a_file(stem: str) -> bool:
    bare = stem.lstrip("_").removeprefix("test_")
    return bare in MODULES | SAYS_NOTHING or bool(PARTS & set(parts(bare)))


def sources() -> list[Path]:
    found = [path for top in ("licenzy", "stripe_sandbox", "tests") for path in (ROOT / top).rglob("*.py")]
    return sorted(path for path in found if "migrations/versions" not in path.as_posix())


def pages() -> list[Path]:
    """Templates, static files and their folders, without what others wrote."""
    tops = [ROOT / "templates", ROOT / "static"]
    tops += [path for name in ("templates", "static") for path in ROOT.glob(f"licenzy/*/{name}")]
    tops += [ROOT / "stripe_sandbox" / name for name in ("templates", "static")]
    return sorted(path for top in tops for path in top.rglob("*") if "vendor" not in path.parts)


def definitions(tree: ast.AST) -> Iterator[str]:
    """The names that a module gives to things which other places use by them."""
    for node in ast.walk(tree):
        match node:
            case ast.ClassDef(name=name):
                yield name
                yield from _attributes(node)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                # The name of a test is a sentence for people; nothing calls it.
                yield from [] if name.startswith("test_") else [name]
                yield from (each.arg for each in _arguments(node.args))
            case ast.Call(func=ast.Name(id="bindparam"), args=[ast.Constant(value=str(name)), *_]):
                yield name
    for statement in tree.body if isinstance(tree, ast.Module) else []:
        yield from _assigned(statement)


def _attributes(node: ast.ClassDef) -> Iterator[str]:
    for statement in node.body:
        yield from _assigned(statement)
        match statement:
            case ast.Assign(targets=[ast.Name(id="__tablename__")], value=ast.Constant(value=str(name))):
                yield name


def _assigned(statement: ast.stmt) -> Iterator[str]:
    match statement:
        case ast.AnnAssign(target=ast.Name(id=name)):
            yield name
        case ast.Assign(targets=targets):
            yield from (each.id for each in targets if isinstance(each, ast.Name))


def _arguments(given: ast.arguments) -> Iterator[ast.arg]:
    yield from (*given.posonlyargs, *given.args, *given.kwonlyargs)
    yield from (each for each in (given.vararg, given.kwarg) if each is not None)


def macros(text: str) -> set[str]:
    return set(re.findall(r"{%-?\s*macro\s+(\w+)", text))


def refused() -> dict[str, set[str]]:
    """By file, the names in it that may not be, its own among them."""
    found: dict[str, set[str]] = {}
    for path in [*sources(), *pages()]:
        name = path.relative_to(ROOT).as_posix()
        stem = path.parent.name if path.name == "__init__.py" else path.stem
        own = {path.name} if is_refused_for_a_file(stem) and name not in ALLOWED_FILES else set()
        if inner := own | set(filter(is_refused, names_in(path))):
            found[name] = inner
    return found


def names_in(path: Path) -> set[str]:
    if path.suffix == ".py":
        return set(definitions(ast.parse(path.read_bytes())))
    return macros(path.read_text(encoding="utf-8")) if path.suffix == ".html" else set()


def test_names_are_the_fields_words() -> None:
    known: dict[str, set[str]] = {}
    for line in NOT_YET.split("\n")[1:-1]:
        name, _, names = line.partition(": ")
        known.setdefault(name, set()).update(names.split())
    now = refused()
    new = {name: more for name, names in now.items() if (more := names - known.get(name, set()))}
    assert new == {}, "call these what a stranger would call them"
    done = {name: gone for name, names in known.items() if (gone := names - now.get(name, set()))}
    assert done == {}, "these have other names by now: take them out of NOT_YET"


def test_what_is_allowed_is_there() -> None:
    assert [name for name in ALLOWED_FILES if not (ROOT / name).is_file()] == []
    assert [name for name in ALLOWED if not PARTS & set(parts(name))] == []


def test_each_class_has_a_name_of_its_own() -> None:
    """The same name for two things leads whoever searches for it astray."""
    counted: Counter[str] = Counter()
    for path in sources():
        if path.is_relative_to(ROOT / "licenzy"):
            tree = ast.parse(path.read_bytes())
            counted.update(node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
    twice = {name for name, times in counted.items() if times > 1}
    assert twice - TWICE_YET == set(), "say in the name which of them it is"
    assert TWICE_YET - twice == set(), "these are unique by now: take them out of TWICE_YET"


def test_the_rules_refuse_and_allow() -> None:
    module = ast.parse(
        "class Exchange:\n    what_was_told: int\n    __tablename__ = 'lapsed_rows'\n"
        "def aloud(hand, *, line): held = bindparam('came')\n"
        "def test_what_is_told(lasting): ...\n"
    )
    given = list(definitions(module))
    assert {"Exchange", "what_was_told", "lapsed_rows", "aloud", "hand", "came", "line", "lasting"} <= set(
        given
    )
    assert {name for name in given if is_refused(name)} == {
        "Exchange", "what_was_told", "lapsed_rows", "aloud", "hand", "came",
    }  # fmt: skip
    assert is_refused("_WasTold")
    assert not any(map(is_refused, ("held_in_other_mode", "HandlerOrder", "Handed", "retold", "line_items")))
    assert all(map(is_refused_for_a_file, ("utils", "test_misbehaviour", "_shell", "by_hand", "what-lapsed")))
    assert not any(map(is_refused_for_a_file, ("line_items", "shelling", "test_money")))
    assert macros("{% macro told(x) %}{%- macro  plain() -%}") == {"told", "plain"}
