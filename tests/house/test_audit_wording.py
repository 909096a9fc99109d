"""Every action that the code records in the audit log has words, and every word is of an action."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from licenzy.workspace.audit_wording import GROUPS, WORDING

PACKAGE = Path(__file__).resolve().parents[2] / "licenzy"
SHAPE = re.compile(r"[a-z_]+\.[a-z_]+")
RECORDING = {"record", "record_once", "is_recorded", "throttle_state"}
HELPERS = {"_audit", "_record", "record_change", "save_prices"}
"""Functions that hand an action on, which they are given by position."""


def constants(node: ast.AST) -> set[str]:
    return {
        each.value
        for each in ast.walk(node)
        if isinstance(each, ast.Constant) and isinstance(each.value, str) and SHAPE.fullmatch(each.value)
    }


def modules() -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        source = path.read_text(encoding="utf-8")
        if "stripe_sandbox" not in path.parts and any(each in source for each in ("audit", *HELPERS)):
            yield path, ast.parse(source)


def recorded() -> dict[str, str]:
    """The actions that stand in the code, and the file of each."""
    found: dict[str, str] = {}
    for path, tree in modules():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                # `action, key = "role.refused", …`
                if isinstance(node, ast.Assign) and "action" in ast.unparse(node.targets[0]).strip(
                    "()"
                ).split(", "):
                    found |= dict.fromkeys(constants(node.value), path.name)
                continue
            name = ast.unparse(node.func).rpartition(".")[2]
            if name in RECORDING:
                given = [each.value for each in node.keywords if each.arg == "action"]
            elif name in HELPERS:
                given = list(node.args)
            else:
                continue
            for each in given:
                found |= dict.fromkeys(constants(each), path.name)
    return found | made_of_parts()


def made_of_parts() -> dict[str, str]:
    """Actions whose second half is handed to a function that puts the first one before it."""
    found: dict[str, str] = {}
    for path in (PACKAGE / "entitlements").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Dict) and path.name in {"grants.py", "overrides.py"}:
                for key, value in zip(node.keys, node.values, strict=True):
                    if isinstance(key, ast.Constant) and key.value == "action":
                        assert isinstance(value, ast.Constant)
                        assert isinstance(value.value, str)
                        found[f"entitlement.{value.value}"] = path.name
    path = PACKAGE / "deliveries" / "actions.py"
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "_note":
            what = node.args[2]
            assert isinstance(what, ast.Constant)
            assert isinstance(what.value, str)
            found[f"webhook_endpoint.{what.value}"] = path.name
    return found


def test_every_action_has_words() -> None:
    without = {action: file for action, file in recorded().items() if action not in WORDING}
    assert without == {}, "add them to licenzy/workspace/audit_wording.py"


def test_every_action_with_words_is_recorded_somewhere() -> None:
    assert set(WORDING) - set(recorded()) == set()


@pytest.mark.parametrize("action", WORDING)
def test_an_action_is_in_one_group_and_its_words_begin_a_line(action: str) -> None:
    assert sum(action in actions for actions in GROUPS.values()) == 1
    assert WORDING[action][0].isupper()
    assert not WORDING[action].endswith(".")


def test_no_door_writes_entries_past_the_recorder() -> None:
    """Rows are made in one place, and neither changed nor removed anywhere."""
    makers = {
        path.relative_to(PACKAGE).as_posix()
        for path, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"AuditEntry", "models.AuditEntry"}
    }
    assert makers == {"workspace/audit.py"}
    changers = [
        f"{path.name}: {ast.unparse(node)[:60]}"
        for path, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in {"update", "delete", "db.delete"}
        and "AuditEntry" in ast.unparse(node)
    ]
    assert changers == []
