"""Forms of the Stripe connection. What is pasted into them is never put back into a page."""

from __future__ import annotations

from wtforms import BooleanField, HiddenField
from wtforms.validators import Length

from licenzy.portal.forms import PortalForm, SecretField

EXISTING_CUSTOMERS = 500
"""How many subscriptions made elsewhere the sandbox account gets on request."""


class StripeKeyForm(PortalForm):
    stripe_key = SecretField(
        "Stripe secret or restricted key",
        validators=[Length(max=400)],
        description="In Stripe: Developers, API keys. It is stored encrypted and never shown again.",
    )
    confirmed = BooleanField("Yes, move this mode of the project to the other Stripe account")
    back = HiddenField()


class SandboxForm(PortalForm):
    existing_customers = HiddenField()
    """Not empty when the button for an account with existing customers was pressed."""
    confirmed = BooleanField("Yes, move this mode of the project to the built-in sandbox")
    back = HiddenField()


class WebhookSecretForm(PortalForm):
    webhook_secret = SecretField(
        "Webhook signing secret",
        validators=[Length(max=400)],
        description="It begins with whsec_. Stripe shows it on the endpoint’s page.",
    )
    back = HiddenField()


class StripeEndpointForm(PortalForm):
    rotate = HiddenField()
    back = HiddenField()
