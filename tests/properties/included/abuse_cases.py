"""What customers try, and what happens to them, in figures worked out by hand."""

from __future__ import annotations

from tests.properties.included import cases_of_changes, cases_of_time

CASES = [*cases_of_changes.CASES, *cases_of_time.CASES]
