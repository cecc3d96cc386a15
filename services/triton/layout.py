"""A model repository on disk, in Triton's layout, read only.

    <root>/<model>/config.pbtxt
    <root>/<model>/<version>/manifest.json, model.onnx, ...

Every path is built from checked names and stays inside the root: a name is one path component, and a symbolic link that
leads out of the repository is refused.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from services.core.errors import ConfigurationError, NotFound

CONFIG = "config.pbtxt"
MANIFEST = "manifest.json"
_MODEL_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,127}")
_VERSION = re.compile(r"[1-9][0-9]{0,17}")


class RepositoryLayout:
    """The models and versions under one root directory.

    Args:
        root: Directory that holds one directory per model.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self._real_root = self.root.resolve()

    def models(self) -> list[str]:
        """Return the names of the directories that have a ``config.pbtxt``, sorted.

        Raises:
            ConfigurationError: The root is not a directory that can be read.
        """
        try:
            entries = sorted(entry.name for entry in self.root.iterdir())
        except OSError as error:
            raise ConfigurationError(
                f"the model repository {self.root} cannot be read ({error.strerror}); name a directory of models"
            ) from error
        return [name for name in entries if _MODEL_NAME.fullmatch(name) and (self.root / name / CONFIG).is_file()]

    def versions(self, model: str) -> list[int]:
        """Return the published versions, ascending: directories named by a positive integer without leading zeros.

        Raises:
            NotFound: No such model.
            ConfigurationError: The model's directory leads out of the repository.
        """
        directory = self.model_directory(model)
        return sorted(int(entry.name) for entry in directory.iterdir() if _is_version(entry))

    def config(self, model: str) -> model_config_pb2.ModelConfig:
        """Return ``config.pbtxt``, parsed.

        Raises:
            NotFound: No such model.
            ConfigurationError: The file is no model configuration, or it names another model.
        """
        path = self.model_directory(model) / CONFIG
        try:
            config = text_format.Parse(path.read_text("utf-8"), model_config_pb2.ModelConfig())
        except (OSError, UnicodeDecodeError, text_format.ParseError) as error:
            raise ConfigurationError(f"{path} is not a Triton model configuration: {error}") from error
        if config.name and config.name != model:
            raise ConfigurationError(
                f"{path} has name '{config.name}', but its directory is '{model}'; make them agree"
            )
        return config

    def manifest(self, model: str, version: int) -> dict[str, Any] | None:
        """Return ``manifest.json`` of a version as a plain dictionary, or None where it has none.

        Raises:
            NotFound: No such model or version.
            ConfigurationError: The file is not a JSON object.
        """
        path = self.version_directory(model, version) / MANIFEST
        try:
            document = json.loads(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"{path} cannot be read as JSON: {error}") from error
        if not isinstance(document, dict):
            raise ConfigurationError(f"{path} holds a JSON {type(document).__name__}; expected an object")
        return document

    def model_directory(self, model: str) -> Path:
        """Return the directory of a model that exists; errors as in ``versions``."""
        if not _MODEL_NAME.fullmatch(model):
            raise NotFound(f"no model '{model[:128]}': a model name has letters, digits, '_', '-' and '.'")
        directory = self.root / model
        if not (directory / CONFIG).is_file():
            raise NotFound(f"no model '{model}' in {self.root}; models here: {', '.join(self.models()) or 'none'}")
        return self._inside(directory)

    def version_directory(self, model: str, version: int) -> Path:
        """Return the directory of a version that exists; errors as in ``manifest``."""
        directory = self.model_directory(model) / str(version)
        if version < 1 or not directory.is_dir():
            found = ", ".join(map(str, self.versions(model))) or "none"
            raise NotFound(f"model '{model}' has no version {version} in {self.root}; versions here: {found}")
        return self._inside(directory)

    def _inside(self, path: Path) -> Path:
        if not path.resolve().is_relative_to(self._real_root):
            raise ConfigurationError(f"{path} is a link that leads out of the model repository; put the files inside")
        return path


def _is_version(entry: Path) -> bool:
    return _VERSION.fullmatch(entry.name) is not None and entry.is_dir()
