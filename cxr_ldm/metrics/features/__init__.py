"""Networks whose features distances are taken in."""
