"""What was seen: Stripe's answers to trial questions, and what traffic did; the facts of alignment."""
