"""The demo keeps to itself, whatever the shell or a settings file of the machine says."""

from __future__ import annotations

from pathlib import Path

from services.cli.demo import apart
from services.cli.settings import load_settings


def test_the_demo_uses_no_state_that_others_use_and_keeps_where_it_is_to_listen(tmp_path: Path) -> None:
    environment = {
        "PENSTOCK_CONTROLLER_DATABASE_URL": "postgresql://ada:secret@db/penstock",
        "PENSTOCK_PUBLIC_KEY": "key.pub",
        "PENSTOCK_REPOSITORY": "models",
        "PENSTOCK_STATE_DIR": str(tmp_path),
        "PENSTOCK_GATEWAY_HTTP_PORT": "8123",
        "PENSTOCK_CONTROLLER_TICK_S": "0.5",
        "PENSTOCK_TRITON_EXECUTABLE": "/opt/tritonserver",
    }
    asked = load_settings(environment, None, {})
    here = apart(asked)
    assert here.controller.database_url is None
    assert here.public_key is None
    assert here.state_dir == tmp_path / "demo"
    assert here.repository == tmp_path / "demo" / "model_repository"
    assert (here.gateway, here.triton, here.controller.tick_s) == (asked.gateway, asked.triton, 0.5)
