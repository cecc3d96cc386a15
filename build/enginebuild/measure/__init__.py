"""How good and how fast a variant is, with the uncertainty of both."""
