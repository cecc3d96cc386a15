"""What a reader needs to judge a measurement: the machine and the programs."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil


def machine_facts(h2load: str, variables: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return date, processor, versions and the settings that the environment makes.

    Args:
        h2load: Path of the load generator.
        variables: What of the environment reaches the gateways.
    """
    version = subprocess.run([h2load, "--version"], capture_output=True, text=True, timeout=10, check=True).stdout
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cpu": _cpu(),
        "cores": psutil.cpu_count() or 0,
        "python": platform.python_version(),
        "h2load": version.strip(),
        "environment": dict(sorted((variables or {}).items())),
    }


def _cpu() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
