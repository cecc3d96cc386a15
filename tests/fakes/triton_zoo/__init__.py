"""Models for a real Triton, each there to show one part of its protocol; their sources are in ``models/``."""
