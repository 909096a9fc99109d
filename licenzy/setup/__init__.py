"""Setup: from nothing to a verified purchase; what is known goes in, steps and findings come out."""
