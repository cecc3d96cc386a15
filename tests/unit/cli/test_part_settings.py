"""What ``penstock up`` writes for its parts: all that it was told, secrets too, and for its owner's eyes alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import SecretStr

from services.cli.settings import Settings, load_settings, places, variable_of
from services.cli.stack import Stack, choose_endpoints
from services.cli.up import ALL_PORTS_FREE

SECRETS = [place for place, kind in places().items() if kind is SecretStr]
# What YAML or JSON could make something else of.
TEXT = "true # 'quoted' \"twice\"\t\x7f\u2028\N{KEY}: é"


def told(folder: Path) -> Settings:
    """Return settings with every secret, and a database's URL with its password."""
    variables = {variable_of(place): f"{'.'.join(place)} {TEXT}" for place in SECRETS}
    variables |= {
        "PENSTOCK_CONTROLLER_DATABASE_URL": "postgresql://ada:p%40ss:w@db/penstock",
        "PENSTOCK_CONTROLLER_WEBHOOK_HOSTS": "*.example.org, ops.test",
        "PENSTOCK_TRITON_TENSORRT": "10.9",
    }
    return load_settings(variables, None, {**ALL_PORTS_FREE, "state_dir": folder, "repository": folder / "models"})


def written(settings: Settings) -> Path:
    stack = Stack(settings, choose_endpoints(settings))
    stack._write_settings()
    return settings.state_dir / "settings.yaml"


def found_at(settings: Any, place: tuple[str, ...]) -> Any:
    for name in place:
        settings = getattr(settings, name)
    return settings


def test_a_part_reads_what_was_told_with_every_secret(tmp_path: Path) -> None:
    settings = told(tmp_path)
    read = load_settings({}, written(settings), {})
    assert ("controller", "webhook_secret") in SECRETS
    assert read.controller.webhook_secret.get_secret_value() == f"controller.webhook_secret {TEXT}"
    chosen = {"http_port", "grpc_port", "metrics_port", "triton", "controller"}
    for place in places():
        if place[-1] not in chosen:
            assert found_at(read, place) == found_at(settings, place), place


def test_nobody_else_can_read_them_even_where_an_older_file_was_open_to_all(tmp_path: Path) -> None:
    older = tmp_path / "settings.yaml"
    older.write_text("old")
    older.chmod(0o644)
    with older.open() as opened_before:
        path = written(told(tmp_path))
        assert opened_before.read() == "old"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_person_is_shown_stars(tmp_path: Path) -> None:
    shown = told(tmp_path).model_dump(mode="json")
    for place in SECRETS:
        document: Any = shown
        for name in place:
            document = document[name]
        assert set(document) == {"*"}
    assert TEXT not in repr(told(tmp_path))
