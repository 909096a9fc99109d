"""The Stripe connection of a project and mode."""
