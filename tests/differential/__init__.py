"""One generated request, sent to a bare Triton and through the gateway, and what may differ between the answers."""
