"""The plain model of included units agrees with every figure that was worked out by hand."""

from __future__ import annotations

import pytest

from tests.properties.included.abuse_cases import CASES
from tests.properties.included.case import Case
from tests.properties.included.play import differences


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_model_has_the_figures_of_the_abuse_table(case: Case) -> None:
    assert differences(case) == []
