"""The data plane: every client request from its bytes to its answer."""
