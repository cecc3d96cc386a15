"""Every variable that is written down somewhere is one that the commands know."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from services.cli.main import cli
from services.cli.settings import Settings, load_settings
from services.core.errors import ConfigurationError

ROOT = Path(__file__).parents[3]
# A name in full: not the beginning of one, as in PENSTOCK_GATEWAY_... or before a brace.
NAME = re.compile(r"PENSTOCK_[A-Z0-9_]*[A-Z0-9](?![A-Z0-9_])")
FOLDERS = ("services", "loadtest", "build")


def written_down() -> Iterator[tuple[str, Path]]:
    texts = [path for folder in FOLDERS for kind in ("*.py", "*.md", "*.yaml") for path in (ROOT / folder).rglob(kind)]
    for path in [*ROOT.glob("*.md"), *texts]:
        for name in NAME.findall(path.read_text(encoding="utf-8")):
            yield name, path


def known(name: str) -> bool:
    try:
        load_settings({name: "1"}, None, {})
    except ConfigurationError as error:
        return "unknown environment variable" not in error.message
    return True


def parameters(command: click.Command, context: click.Context) -> Iterator[click.Parameter]:
    yield from command.params
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from parameters(child, context)


def test_every_variable_in_documents_and_messages_is_known() -> None:
    named = dict(written_down())
    assert {"PENSTOCK_CONTROLLER_WEBHOOK_SECRET", "PENSTOCK_CONTROLLER_PROMETHEUS_URL"} <= set(named)
    assert {name: path for name, path in named.items() if not known(name)} == {}
    assert not known("PENSTOCK_CONTROLLER__WEBHOOK_SECRET")


def test_a_variable_of_one_command_is_no_unknown_setting_to_the_others() -> None:
    with click.Context(cli) as context:
        told = {parameter.envvar for parameter in parameters(cli, context) if parameter.envvar}
    assert {"PENSTOCK_CONTROLLER_URL", "PENSTOCK_GATEWAY_URL"} <= told
    for name in told:
        assert isinstance(name, str)
        assert load_settings({name: "http://somewhere"}, None, {}) == Settings()


@pytest.mark.parametrize(
    ("text", "hosts"),
    [("ops.test", ["ops.test"]), ("*.example.org, ops.test,", ["*.example.org", "ops.test"]), ("", [])],
)
def test_a_list_has_commas_in_a_variable(text: str, hosts: list[str]) -> None:
    settings = load_settings({"PENSTOCK_CONTROLLER_WEBHOOK_HOSTS": text}, None, {})
    assert settings.controller.webhook_hosts == hosts


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql+psycopg://ada:p@ss:word@db:5432/penstock", "postgresql+psycopg://ada:***@db:5432/penstock"),
        ("postgresql+psycopg://ada@db/penstock", "postgresql+psycopg://ada@db/penstock"),
        ("sqlite:////var/lib/penstock.db", "sqlite:////var/lib/penstock.db"),
    ],
)
def test_the_settings_in_force_are_shown_without_the_databases_password(url: str, shown: str) -> None:
    told = CliRunner().invoke(cli, ["config", "show"], env={"PENSTOCK_CONTROLLER_DATABASE_URL": url})
    assert json.loads(told.output)["controller"]["database_url"] == shown
