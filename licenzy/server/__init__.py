"""DOOR: the processes that answer HTTP, run by Granian."""
