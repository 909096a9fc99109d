"""What was observed: Stripe's answers to probes, and traffic; the facts of alignment."""
