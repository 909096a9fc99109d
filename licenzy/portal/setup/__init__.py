"""The set-up wizard and going live."""
