"""What people read about imports."""

from __future__ import annotations

MATCHED_BY = {
    "csv_subscription": "Matched by its subscription in your CSV.",
    "csv_customer": "Matched by its Stripe customer in your CSV.",
    "csv_email": "Matched by the e-mail address in your CSV, confirmed by a person.",
    "subscription_metadata": "Matched by the subscription’s metadata.",
    "customer_metadata": "Matched by the Stripe customer’s metadata.",
    "session_reference": "Matched by the client_reference_id of its Checkout Session.",
    "linked_customer": "Matched by a Stripe customer that was known here.",
    "person": "Matched by a person.",
}
"""How a purchase was matched with a customer, as a sentence."""

REASONS = {
    "csv_disagrees": "Your CSV names more than one customer for it.",
    "email_only": "Only the e-mail address matches. Confirm it, or leave the purchase out.",
    "email_twice": "More than one Stripe customer has this e-mail address.",
    "several_linked": "More than one customer is linked to this Stripe customer.",
    "ref_not_valid": "The name found is not a valid subject_ref.",
    "own_checkout": "A checkout of this project sold it: its events or reconciliation bring it.",
    "other_project": "Another project of Licenzy’s sold it.",
    "unread": "What Stripe says of it cannot be read. The server’s log has the reason.",
}
"""Why a purchase waits for a person, or is not matched, as a sentence."""

RESULTS = {
    "imported": "Imported.",
    "here_already": "It was here already.",
    "no_longer_clear": "Left out: whose it is was no longer clear when it was written.",
    "price_not_mapped": "Left out: none of its prices is a product’s any more.",
    "customer_erased": "Left out: this customer was erased.",
    "failed": "It could not be written.",
}
"""What became of a purchase when the import wrote."""

OUTCOMES = {
    "matched": "matched with a customer",
    "ambiguous": "ambiguous, for a person to decide",
    "unmatched": "not matched with anybody",
    "price_not_mapped": "at prices that are no product’s",
    "here_already": "here already",
    "ended": "ended, and not asked for",
    "left_out": "left out by name",
}
"""What the import makes of purchases, after their number."""

STEPS = {
    "subscriptions": "Reading subscriptions …",
    "sessions": "Reading checkouts …",
    "match": "Matching purchases with customers …",
    "preview": "Waiting for you",
    "run": "Writing …",
    "done": "Done",
    "stopped": "Stopped",
}
"""How far an import is."""
