"""The way from nothing to a proven purchase: facts in, steps and findings out."""
