"""The form that adopts an untracked checkout."""

from __future__ import annotations

from licenzy.portal.customers.forms import OntoForm


class AdoptForm(OntoForm):
    pass
