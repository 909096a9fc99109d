"""Several processes of the product on one database, as real processes over real HTTP."""
