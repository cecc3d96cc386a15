"""A variable that a message or the README names can be set."""

import re
from pathlib import Path

from services.cli.settings import load_settings
from services.core.errors import ConfigurationError

ROOT = Path(__file__).parents[3]
NAMED = re.compile(r"PENSTOCK_CONTROLLER_[A-Z_]*[A-Z]")


def test_every_variable_of_the_controller_that_is_named_is_known() -> None:
    sources = [ROOT / "README.md", *(ROOT / "services" / "controller").rglob("*.py")]
    named = {name for path in sources for name in NAMED.findall(path.read_text("utf-8"))}
    assert {"PENSTOCK_CONTROLLER_PROMETHEUS_URL", "PENSTOCK_CONTROLLER_WEBHOOK_SECRET"} <= named
    unknown = []
    for name in named:
        try:
            load_settings({name: "x"}, None, {})
        except ConfigurationError as error:  # other values than "x" may be expected
            unknown += [name] if "unknown" in error.message else []
    assert unknown == []
