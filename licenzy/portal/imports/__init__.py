"""Importing what an account sold before."""
