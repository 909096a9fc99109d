"""Products: each maps a product_code to one Stripe price, in one mode."""
