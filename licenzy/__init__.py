"""Licenzy answers the question Stripe does not: may this user proceed, right now?"""

from licenzy.factory import create_app

__all__ = ["__version__", "create_app"]
__version__ = "0.1.0"
