"""The catalog: product codes mapped to Stripe prices, each in one mode."""
