"""What was bought, as the merchant manages it at Stripe with the official library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from tests.archetypes.merchant import Merchant

Proration = Literal["create_prorations", "always_invoice", "none"]


@dataclass(frozen=True, slots=True)
class Purchase:
    """What one checkout sold, as the merchant manages it at Stripe."""

    merchant: Merchant
    session_id: str

    @property
    def subscription_id(self) -> str:
        return str(self.merchant.stripe.checkout.sessions.retrieve(self.session_id).subscription)

    def change_price(
        self,
        product_code: str,
        label: str = "default",
        *,
        proration: Proration,
        instead_of: str | None = None,
    ) -> None:
        """The item, or the one of the product `instead_of`, at another price, in the same quantity."""
        item = self._item(instead_of)
        # Stripe sets the quantity to 1 where a change of price does not name it.
        change = {"id": item.id, "price": self.merchant.price(product_code, label), "quantity": item.quantity}
        self._update(items=[change], proration_behavior=proration)

    def change_quantity(
        self, quantity: int, *, proration: Proration, product_code: str | None = None
    ) -> None:
        change = {"id": self._item(product_code).id, "quantity": quantity}
        self._update(items=[change], proration_behavior=proration)

    def add(
        self, product_code: str, label: str = "default", *, quantity: int = 1, proration: Proration
    ) -> None:
        """One more item of the subscription."""
        self.merchant.a_moment_later()
        self.merchant.stripe.subscription_items.create(
            {
                "subscription": self.subscription_id,
                "price": self.merchant.price(product_code, label),
                "quantity": quantity,
                "proration_behavior": proration,
            }
        )
        self.merchant.delivered()

    def remove(self, product_code: str, *, proration: Proration) -> None:
        self.merchant.a_moment_later()
        self.merchant.stripe.subscription_items.delete(
            self._item(product_code).id, {"proration_behavior": proration}
        )
        self.merchant.delivered()

    def cancel(self) -> None:
        self.merchant.a_moment_later()
        self.merchant.stripe.subscriptions.cancel(self.subscription_id)
        self.merchant.delivered()

    def cancel_at_period_end(self) -> None:
        self._update(cancel_at_period_end=True)

    def keep(self) -> None:
        """Call off the scheduled end."""
        self._update(cancel_at_period_end=False)

    def let_card_fail(self) -> None:
        """The card on file is declined from now on."""
        self._update(default_payment_method="pm_card_chargeCustomerFail")

    def repair_card(self) -> None:
        """Another card pays what is open, and from now on."""
        self._update(default_payment_method="pm_card_visa")
        self.merchant.a_moment_later()
        open_ones = self.merchant.stripe.invoices.list(
            {"subscription": self.subscription_id, "status": "open"}
        )
        for invoice in open_ones.data:
            self.merchant.stripe.invoices.pay(invoice.id)
        self.merchant.delivered()

    def refund(self, amount: int | None = None) -> None:
        """The last payment, or so much of it in the currency's smallest unit."""
        asked: Any = {"payment_intent": self._payment_intent(), **({"amount": amount} if amount else {})}
        self.merchant.a_moment_later()
        self.merchant.stripe.refunds.create(asked)
        self.merchant.delivered()

    def expect_last_payment(self, amount: int) -> None:
        """What the last payment was, in the currency's smallest unit."""
        intent = self.merchant.stripe.payment_intents.retrieve(self._payment_intent())
        assert intent.amount_received == amount, intent

    def _payment_intent(self) -> str:
        session = self.merchant.stripe.checkout.sessions.retrieve(self.session_id)
        if session.payment_intent is not None:
            return str(session.payment_intent)
        paid = self.merchant.stripe.invoices.list({"subscription": self.subscription_id, "status": "paid"})
        last = next(invoice for invoice in paid.data if invoice.amount_paid)
        (payment,) = self.merchant.stripe.invoice_payments.list({"invoice": last.id, "status": "paid"}).data
        return str(payment.payment.payment_intent)

    def _item(self, product_code: str | None) -> Any:
        """The only item, or the one at a price of the product."""
        subscription = self.merchant.stripe.subscriptions.retrieve(self.subscription_id)
        items = subscription["items"].data
        if product_code is not None:
            prices = self.merchant.prices_of(product_code)
            items = [item for item in items if item.price.id in prices]
        (item,) = items
        return item

    def _update(self, **changes: Any) -> None:
        asked: Any = changes
        self.merchant.a_moment_later()
        self.merchant.stripe.subscriptions.update(self.subscription_id, asked)
        self.merchant.delivered()
