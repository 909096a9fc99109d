"""One mechanism for calls that may be repeated but must have one effect."""
