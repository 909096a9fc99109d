"""Mail to the people who use the portal: written with what it is about, sent later by the worker."""
