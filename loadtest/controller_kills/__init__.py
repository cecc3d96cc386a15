"""Controllers killed at every transition, and at any other moment; what must hold all the same.

Real controllers on a real database, behind which a stand-in for Triton keeps what is loaded, so that a kill costs a
controller's start and nothing else.
"""
