"""What a text typed into a search field finds on one side.

Everything stays within the scope; `Scope.other` searches the other mode of the same project.
"""

from __future__ import annotations

from sqlmodel import Session

from licenzy.catalog.models import Product
from licenzy.catalog.queries import archived_products, products
from licenzy.projects.scope import Scope
from licenzy.search.by_id import find_by_id
from licenzy.search.hits import MOST_SHOWN, Hit, Results, customer_hit, product_hit
from licenzy.subjects.queries import subject_by_ref, subjects_page
from licenzy.subjects.rules import folded


def search(db: Session, scope: Scope, *, text: str) -> Results:
    """The records that are named exactly so, then customers and products that `text` is a part of."""
    exact = find_exactly(db, scope, text=text)
    page = subjects_page(db, scope, search=text)
    hits = dict.fromkeys(
        [*exact, *map(customer_hit, page.rows[:MOST_SHOWN]), *_products_with(db, scope, text)]
    )
    return Results(
        list(hits),
        more_customers=len(page.rows) > MOST_SHOWN or page.older is not None,
        elsewhere=[] if exact else find_exactly(db, scope.other, text=text),
    )


def find_exactly(db: Session, scope: Scope, *, text: str) -> list[Hit]:
    """The records with this id, and the customer with this ref."""
    named = subject_by_ref(db, scope, subject_ref=text)
    hits = [customer_hit(named)] if named is not None else []
    return list(dict.fromkeys([*hits, *find_by_id(db, scope, text=text)]))


def _products_with(db: Session, scope: Scope, text: str) -> list[Hit]:
    """Products whose code or name the text is a part of; those that are sold come first."""
    part = folded(text)
    if not part:
        return []
    every = [*products(db, scope), *archived_products(db, scope)]
    named = (each for each in every if part in folded(_text_of(each)))
    return [product_hit(each) for each in named][:MOST_SHOWN]


def _text_of(product: Product) -> str:
    return "\n".join([product.product_code, *(price.stripe_product_name for price in product.prices)])
