"""The form that copies products of test to live: a live price for each, or none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wtforms import StringField
from wtforms.validators import Length

from licenzy.catalog.models import Product
from licenzy.portal.forms.portal_form import PortalForm


def copy_form(products: Sequence[Product], proposed: Mapping[str, str] | None = None) -> Any:
    """A form with one field for each product, by its id; `proposed` fills it, else what was sent does."""
    fields = {
        product.id: StringField(product.product_code, validators=[Length(max=200)]) for product in products
    }
    made: Any = type("CopyForm", (PortalForm,), fields)
    return made() if proposed is None else made(formdata=None, data=dict(proposed))
