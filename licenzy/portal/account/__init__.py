"""My account: the password and the sessions."""
