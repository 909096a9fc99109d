"""Included units of subscriptions: what they give by a model that shares no code with the product."""
