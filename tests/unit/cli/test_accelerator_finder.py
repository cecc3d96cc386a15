"""Which GPU Triton has: as the settings say, else as the driver says, else nobody knows."""

import pytest

from services.cli.accelerator import accelerator_finder
from services.cli.settings import TritonSettings, load_settings
from services.core.accelerator import Accelerator
from services.core.errors import ConfigurationError


def test_the_settings_come_first() -> None:
    settings = TritonSettings(compute_capability="8.6", tensorrt="10.13.3")
    assert accelerator_finder(settings)() == Accelerator("8.6", "10.13.3")


def test_a_machine_without_a_gpu_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # hides a GPU that this machine may have
    assert accelerator_finder(TritonSettings())() is None


@pytest.mark.parametrize("name", ["COMPUTE_CAPABILITY", "TENSORRT"])
@pytest.mark.parametrize("text", ["sm_90", "9", "9,0", "9."])
def test_what_is_no_version_is_refused_with_the_settings_name(name: str, text: str) -> None:
    with pytest.raises(ConfigurationError, match=name.lower()):
        load_settings({f"PENSTOCK_TRITON_{name}": text}, None, {})
