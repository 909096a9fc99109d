"""An installation of a hundred thousand entitlements, written and asked by an older version's own code."""
