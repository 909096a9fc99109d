"""Every error code has a section in docs/errors.md with its status, and no section has no code."""

from __future__ import annotations

import re
from pathlib import Path

from licenzy import errors

DOC = Path(__file__).resolve().parents[2] / "docs" / "errors.md"


def documented() -> dict[str, int]:
    sections = re.findall(r"^### `([a-z_]+)` \((\d{3})\)$", DOC.read_text(encoding="utf-8"), re.MULTILINE)
    return {code: int(status) for code, status in sections}


def test_codes_and_documentation_agree() -> None:
    table = {
        cls.code: cls.status
        for cls in vars(errors).values()
        if isinstance(cls, type) and issubclass(cls, errors.LicenzyError)
    }
    assert documented() == table


def test_every_section_tells_cause_and_fix() -> None:
    for section in re.split(r"^### ", DOC.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        assert "**Cause.**" in section, section.splitlines()[0]
        assert "**Fix.**" in section, section.splitlines()[0]
