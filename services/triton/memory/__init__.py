"""How much memory a Triton has left, and how much each version's own processes take of it."""
