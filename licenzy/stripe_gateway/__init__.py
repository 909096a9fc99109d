"""Everything that speaks to Stripe or reads what Stripe sends; the only room that imports its library."""

import sys

# Stripe's library imports httpx, which imports its own command line and all that colours a terminal. Told
# that there is none, it does without: a tenth of the start and some megabytes of each process.
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
