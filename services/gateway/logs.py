"""How the gateway's processes log: one line each to standard error, for whoever runs them to collect."""

from __future__ import annotations

import logging


def configure() -> None:
    """Set up logging for this process."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
