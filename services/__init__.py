"""Penstock's processes: the gateway, the controller, the supervision of Triton, and the domain that they share."""
