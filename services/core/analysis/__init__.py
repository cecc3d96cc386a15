"""From evidence to a verdict: the checks, and the bounds that they stand on."""
