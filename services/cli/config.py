"""``penstock config``: the JSON Schema of every YAML file, and the settings in force."""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path
from typing import Any

import click
from pydantic import BaseModel, TypeAdapter

from services.cli.console import Console
from services.cli.settings import load_settings
from services.gateway.limits import Limits

# The model behind each kind of YAML file; imported only when its schema is asked for.
FILES = {
    "settings": "services.cli.settings:Settings",
    "recipe": "enginebuild.recipe.recipe:Recipe",
    "slo": "loadtest.slo_file:SloFile",
    "rollout": "services.cli.rollout_file:RolloutFile",
}


@click.group()
def config() -> None:
    """JSON Schema of every YAML file; the settings in force; the bounds on clients."""


@config.command()
@click.argument("kind", type=click.Choice(sorted(FILES)), required=False)
@click.pass_obj
def schema(console: Console, kind: str | None) -> None:
    """Print the JSON Schema of one kind of YAML file, or of all of them, for editors."""
    schemas = {name: _model(name).model_json_schema() for name in ([kind] if kind else sorted(FILES))}
    document = schemas[kind] if kind else schemas
    console.say(json.dumps(document, indent=2))
    console.result(document)


@config.command()
@click.option("--config", "file", type=click.Path(path_type=Path), help="Settings file; default is penstock.yaml.")
@click.pass_obj
def show(console: Console, file: Path | None) -> None:
    """Print the settings in force: defaults, then the file, then the environment; without any password."""
    settings = load_settings(os.environ, file, {}).model_dump(mode="json")
    controller = settings["controller"]
    if controller["database_url"] is not None:
        controller["database_url"] = without_password(controller["database_url"])
    console.say(json.dumps(settings, indent=2))
    console.result(settings)


def without_password(url: str) -> str:
    """Return a URL with stars for its password."""
    head, at, place = url.rpartition("@")
    scheme, slashes, login = head.partition("://")
    user, colon, _ = login.partition(":")
    return f"{scheme}{slashes}{user}:***{at}{place}" if at and colon else url


@config.command()
@click.pass_obj
def bounds(console: Console) -> None:
    """Print every bound that the gateway keeps on its clients, with its default, as a Markdown table."""
    table = bounds_table()
    console.say(table)
    console.result(TypeAdapter(Limits).dump_python(Limits(), mode="json"))


def bounds_table() -> str:
    """Return the bounds as ARCHITECTURE.md has them."""
    fields: dict[str, dict[str, Any]] = TypeAdapter(Limits).json_schema()["properties"]
    rows = [f"| `{name}` | {field['default']:,} | {field['description']} |" for name, field in fields.items()]
    return "\n".join(["| `gateway.limits.` | default | bound |", "| --- | ---: | --- |", *rows])


def _model(kind: str) -> type[BaseModel]:
    module, name = FILES[kind].split(":")
    model: type[BaseModel] = getattr(importlib.import_module(module), name)
    return model
