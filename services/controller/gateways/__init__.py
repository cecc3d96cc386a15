"""What is heard of the gateways' workers, and what they are told to serve."""
