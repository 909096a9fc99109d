"""The product is as the plain model says."""

from __future__ import annotations

import pytest

from licenzy.db.unit_of_work import Database
from tests.properties.included import agreement, product
from tests.properties.included.product import Product
from tests.support.cast import Cast


@pytest.fixture
def subject(database: Database, cast: Cast) -> Product:
    return product.make(database, cast.project_id)


test_the_product_has_the_figures_by_hand = agreement.test_the_product_has_the_figures_by_hand
test_the_product_opens_the_windows_of_the_model = agreement.test_the_product_opens_the_windows_of_the_model
test_the_product_answers_calls_as_the_model = agreement.test_the_product_answers_calls_as_the_model
