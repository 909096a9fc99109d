"""What happens to objects over time, and the events it gives off, in the order in which Stripe commonly sends
them."""
