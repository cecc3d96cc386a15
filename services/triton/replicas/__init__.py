"""Several Tritons behind one port: choice, health, retries and streams."""
