"""What people are mailed about without asking: that something blocks live mode."""
