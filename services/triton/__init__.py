"""How Triton is found, started, watched and spoken to."""
