"""Tools that know neither the business nor HTTP."""
