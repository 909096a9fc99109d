"""Erasing a customer: the one permitted edit of what is stored."""
