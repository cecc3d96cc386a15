"""What a mirror costs live requests, and whether it finds a version that differs on one request in a hundred."""
