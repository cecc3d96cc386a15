"""Which variables of the shell reach what a load test starts: the settings of somebody's production must not."""

from __future__ import annotations

from collections.abc import Mapping

_SETTING = "PENSTOCK_"
_OF_GATEWAYS = "PENSTOCK_GATEWAY_"
# These say what this machine has, and not what is to be run or whose state is used.
_OF_THIS_MACHINE = {f"PENSTOCK_TRITON_{name}" for name in ("EXECUTABLE", "COMPUTE_CAPABILITY", "TENSORRT")}


def inherited(environment: Mapping[str, str]) -> dict[str, str]:
    """Return a shell's variables without Penstock's settings, but for where its Triton is and what that has."""
    return {
        name: value for name, value in environment.items() if name in _OF_THIS_MACHINE or not name.startswith(_SETTING)
    }


def of_gateways(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the settings of gateways in a shell's variables, for a measurement that takes them over on purpose."""
    return {name: value for name, value in environment.items() if name.startswith(_OF_GATEWAYS)}
