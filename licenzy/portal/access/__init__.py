"""Claiming an installation, signing in and out."""
