"""An MLflow server, spoken to through MLflow's own client: within bounds, and with our errors.

Nothing is ever loaded from there, only copied: MLflow's flavours are pickles, or code beside pickles.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

from enginebuild.stores.mlflow.artifacts import MlflowArtifacts
from services.core.errors import (
    ConfigurationError,
    Conflict,
    Forbidden,
    MissingDependency,
    NotFound,
    PenstockError,
    Unavailable,
)

REMEDY = "pip install 'penstock[mlflow]'"
# MLflow's client reads these whenever it asks something; what a person has set stays.
_BOUNDS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "120",  # to connect, and for each answer: a server may pass a file on before it
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
}
# It would tell its makers what is used of it, and write among what a command prints.
_SILENCE = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_CONFIGURE_LOGGING": "false",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
_STATUS = re.compile(r"\b(40[134])\b (?:client error|!= 200)", re.IGNORECASE)
_LONGEST_REASON = 300


class MlflowServer:
    """A server that is opened.

    Args:
        address: Such as ``https://mlflow.example.org``. Credentials and certificates come from the environment, by the
            names that MLflow gives them (``MLFLOW_TRACKING_USERNAME``, ``MLFLOW_TRACKING_TOKEN`` and so on).

    Attributes:
        client: MLflow's client; whatever it is asked is asked within ``errors``.

    Raises:
        MissingDependency: MLflow's client is not installed.
    """

    def __init__(self, address: str) -> None:
        os.environ.update(_SILENCE)
        for name, value in _BOUNDS.items():
            os.environ.setdefault(name, value)
        try:
            from mlflow import MlflowClient
        except ImportError as error:
            raise MissingDependency(f"MLflow's client is not there: {error}", REMEDY) from error
        self.address = address
        self.client: Any = MlflowClient(tracking_uri=address, registry_uri=address)

    def artifacts(self, uri: str) -> MlflowArtifacts:
        """Return the files below a URI, which may be one of this server or of the store behind it.

        Raises:
            MissingDependency: The client of that store is not installed.
        """
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        with self.errors(f"the artifacts of {uri}"):
            repository = get_artifact_repository(uri, tracking_uri=self.address, registry_uri=self.address)
        return MlflowArtifacts(repository, self.errors)

    def by_alias(self, name: str, alias: str) -> Any:
        """Return the version of a registered model that an alias points to.

        Raises:
            NotFound: There is no such registered model or alias.
        """
        with self.errors(f"registered model '{name}'"):
            aliases = self.client.get_registered_model(name).aliases
        if alias not in aliases:
            there = ", ".join(sorted(aliases)) or "none"
            raise NotFound(f"'{name}' in MLflow at {self.address} has no alias '{alias}'; it has {there}")
        with self.errors(f"version {aliases[alias]} of '{name}'"):
            return self.client.get_model_version(name, aliases[alias])

    def artifacts_of(self, version: Any) -> MlflowArtifacts:
        """Return the files of a version of a registered model, which is MLflow's own object."""
        with self.errors(f"version {version.version} of '{version.name}'"):
            uri = self.client.get_model_version_download_uri(version.name, version.version)
        return self.artifacts(uri)

    @contextmanager
    def errors(self, what: str) -> Iterator[None]:
        """Turn the client's errors into ours.

        Args:
            what: What is asked for, for the message.
        """
        import requests
        from mlflow.exceptions import MlflowException

        try:
            yield
        except PenstockError:
            raise
        except MlflowException as error:
            raise self._ours(what, error.get_http_status_code(), str(error)) from error
        except requests.HTTPError as error:
            raise self._ours(what, error.response.status_code, str(error)) from error
        except requests.RequestException as error:
            raise Unavailable(f"MLflow at {self.address} does not answer for {what}: {_reason(str(error))}") from error
        except ImportError as error:
            raise MissingDependency(
                f"MLflow at {self.address} has {what} in a store of its own, whose client is missing here: {error}",
                f"pip install {error.name}, or let the server pass artifacts on (mlflow server --serve-artifacts)",
            ) from error

    def _ours(self, what: str, status: int, words: str) -> PenstockError:
        if status == HTTPStatus.INTERNAL_SERVER_ERROR and (told := _STATUS.search(words)):
            status = int(told[1])  # of a file; MLflow itself keeps it in its words alone
        where, reason = f"MLflow at {self.address}", _reason(words)
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            return Forbidden(
                f"{where} does not give access to {what}: {reason}; credentials come from MLFLOW_TRACKING_USERNAME and "
                "MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
            )
        if status == HTTPStatus.NOT_FOUND:
            return NotFound(f"{where} has no {what}: {reason}")
        if status == HTTPStatus.CONFLICT:
            return Conflict(f"{where} does not take {what}: {reason}")
        if status == HTTPStatus.BAD_REQUEST:
            return ConfigurationError(f"{where} refuses {what}: {reason}")
        return Unavailable(f"{where} does not give or take {what}: {reason}")


def _reason(words: str) -> str:
    """Return both ends of what an error says, on one line: the cause is last, and between them are whole pages."""
    line, half = " ".join(words.split()), _LONGEST_REASON // 2
    return line if len(line) <= _LONGEST_REASON else f"{line[:half]} ... {line[-half:]}"
