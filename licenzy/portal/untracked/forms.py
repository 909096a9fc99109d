"""The form that adopts an untracked checkout."""

from __future__ import annotations

from licenzy.errors import DatabaseUnavailable, LicenzyError, StripeError, StripeTimeout, StripeUnavailable
from licenzy.portal.customers.forms import CustomerForm

TRY_LATER = "Nothing was changed. Try again in a moment."
_PASSING = (DatabaseUnavailable, StripeError, StripeTimeout, StripeUnavailable)


class AdoptForm(CustomerForm):
    def refuse(self, error: LicenzyError) -> None:
        """The hint of a failure that passes is for programs, so people get another."""
        if isinstance(error, _PASSING):
            error.hint = TRY_LATER
        super().refuse(error)
