"""Everything that speaks to Stripe or reads what Stripe sends; the only room that imports its library."""
