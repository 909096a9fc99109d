"""The checker itself: it must be able to say no, or its silence proves nothing."""

from __future__ import annotations

import re

import stripe

from licenzy.stripe_sandbox.api import OPERATIONS
from tests.contract.description import (
    description,
    is_described,
    wrong_with_answer,
    wrong_with_event,
    wrong_with_object,
    wrong_with_request,
)

SESSION = (
    "mode=payment&success_url=https%3A%2F%2Fshop.test&line_items[0][price]=price_1&line_items[0][quantity]=2"
)


def test_it_describes_the_version_that_the_library_pins() -> None:
    assert description()["info"]["version"] == stripe._api_version._ApiVersion.CURRENT


def test_a_good_request_has_nothing_wrong() -> None:
    assert wrong_with_request("POST", "/v1/checkout/sessions", SESSION) == []
    assert wrong_with_request("GET", "/v1/events?types[0]=invoice.paid&limit=5&delivery_success=false") == []


def test_it_tells_an_unknown_parameter() -> None:
    assert "quantty" in str(wrong_with_request("POST", "/v1/checkout/sessions", SESSION + "&quantty=1"))
    assert "prize" in str(wrong_with_request("POST", "/v1/checkout/sessions", "line_items[0][prize]=price_1"))


def test_it_tells_a_value_of_another_type() -> None:
    assert "is no integer" in str(wrong_with_request("POST", "/v1/refunds", "amount=ten"))
    assert "is no boolean" in str(wrong_with_request("GET", "/v1/prices?active=yes"))


def test_it_tells_a_wrong_answer() -> None:
    price = {"id": "price_1", "object": "price", "active": True, "unit_amount": 100, "product": "prod_1"}
    assert wrong_with_object(price) == []
    assert wrong_with_object({**price, "active": "true"}) == [".active: 'true' is no boolean"]
    assert wrong_with_object({**price, "unit_amount": True}) == [".unit_amount: 'True' is no integer"]
    assert wrong_with_object({**price, "product": None}) != []
    assert wrong_with_object({**price, "colour": "red"}) == [".colour is not described"]
    assert wrong_with_object({"object": "prize"}) == ["obj.prize is not described"]
    assert wrong_with_answer("GET", "/v1/prices/price_1", {**price, "object": "product"}) != []


def test_it_tells_a_list_without_its_fields() -> None:
    page = {"object": "list", "data": [], "has_more": False}
    assert wrong_with_answer("GET", "/v1/prices", page) == [".url is missing"]


def test_it_looks_into_expanded_objects() -> None:
    product = {"id": "prod_1", "object": "product", "name": 5}
    price = {"id": "price_1", "object": "price", "product": product}
    assert ".product.name: '5' is no string" in wrong_with_object(price)


def test_it_looks_into_events() -> None:
    inner = {"id": "in_1", "object": "invoice", "amount_due": "ten"}
    event = {"id": "evt_1", "object": "event", "type": "invoice.paid", "data": {"object": inner}}
    assert wrong_with_event(event) == ["invoice.paid: .amount_due: 'ten' is no integer"]
    assert any("is not among" in wrong for wrong in wrong_with_event({**event, "type": "invoice.eaten"}))


def test_a_deletion_says_no_more_than_that() -> None:
    gone = {"id": "cus_1", "object": "customer", "deleted": True}
    assert wrong_with_answer("DELETE", "/v1/customers/cus_1", gone) == []
    assert wrong_with_answer("DELETE", "/v1/customers/cus_1", {**gone, "email": None}) != []


def test_what_the_file_leaves_out_is_read_from_the_library() -> None:
    good = "customer=cus_1&subscription=sub_1&pending_invoice_items_behavior=include&auto_advance=false"
    assert wrong_with_request("POST", "/v1/invoices", good) == []
    assert "is not described" in str(wrong_with_request("POST", "/v1/invoices", f"{good}&colour=red"))
    assert "is not among" in str(
        wrong_with_request("POST", "/v1/invoices", "pending_invoice_items_behavior=eat")
    )
    assert wrong_with_request("POST", "/v1/invoices/in_1/pay", "paid_out_of_band=true") == []
    assert ".pricing.prize" in str(wrong_with_request("POST", "/v1/invoiceitems", "pricing[prize]=price_1"))
    assert wrong_with_request("GET", "/v1/invoices/in_1/lines?limit=5&starting_after=il_1") == []
    item = {"id": "ii_1", "object": "invoiceitem", "amount": 500, "period": {"start": 1, "end": 2}}
    assert wrong_with_answer("GET", "/v1/invoiceitems/ii_1", item) == []
    assert wrong_with_answer("GET", "/v1/invoiceitems/ii_1", {**item, "amount": "5"}) != []
    assert wrong_with_object({**item, "parent": {"colour": "red"}}) == [".parent.colour is not described"]


def test_it_knows_which_addresses_are_described() -> None:
    assert is_described("POST", "/v1/checkout/sessions/cs_1/expire")
    assert not is_described("POST", "/v1/teapots")


def test_all_that_the_sandbox_answers_is_described() -> None:
    undescribed = {
        operation.name
        for operation in OPERATIONS
        if not is_described(operation.method, re.sub(r"<[^>]+>", "id_1", operation.rule))
    }
    assert undescribed == set()
