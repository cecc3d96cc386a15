"""The worker's side of the control protocol: it receives route tables and reports statistics."""
