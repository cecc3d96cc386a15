"""Child processes and ports: started, watched, restarted with backoff, and stopped."""
