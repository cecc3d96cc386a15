"""Which of several controllers leads, and that no other writes."""
