"""What is counted of answers, and added up over workers and time."""
