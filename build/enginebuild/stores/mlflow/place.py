"""What a URL says of a place in MLflow: which server, and how a model's versions are kept there. No network."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from services.core.errors import ConfigurationError

SCHEME = "mlflow"
SERVER_VARIABLE = "MLFLOW_TRACKING_URI"
EXPERIMENT_VARIABLE = "MLFLOW_EXPERIMENT_NAME"
EXPERIMENT = "penstock"

_FORM = "mlflow+http://HOST[:PORT], mlflow+https://HOST, or mlflow: for the server of " + SERVER_VARIABLE
_OPTIONS = ("name", "alias", "experiment")
# MLflow takes neither / nor : in a registered model's name; a quote would end it in a search.
_NAME = re.compile(r"[^/:'\"\\\x00-\x1f]{1,250}")
# https://mlflow.org/docs/latest/ml/model-registry: an alias like v1 would be taken for a version.
_ALIAS = re.compile(r"(?![vV][0-9]+$)(?!latest$)[A-Za-z0-9_-]{1,255}")


@dataclass(frozen=True, slots=True)
class MlflowPlace:
    """A place in MLflow.

    Attributes:
        server: The server's address, ``http://`` or ``https://``, without credentials.
        name: The registered model; None for one that is called as the model is.
        alias: The alias that a pushed version gets, and that a pull follows; None for none.
        experiment: The experiment that has the run of each pushed version.
    """

    server: str
    name: str | None = None
    alias: str | None = None
    experiment: str = EXPERIMENT

    @classmethod
    def from_url(cls, url: str, environment: Mapping[str, str]) -> MlflowPlace:
        """Read a URL such as ``mlflow+https://mlflow.example.org?alias=production``.

        Raises:
            ConfigurationError: It has another form, or ``mlflow:`` was given and the environment names no server.
        """
        parts = urlsplit(url)
        if parts.fragment or parts.scheme not in (SCHEME, f"{SCHEME}+http", f"{SCHEME}+https"):
            raise ConfigurationError(f"'{url}' cannot be opened; expected {_FORM}")
        if parts.scheme == SCHEME:
            if parts.netloc or parts.path:
                raise ConfigurationError(f"'{url}' cannot be opened; expected {_FORM}")
            server = server_address(None, environment)
        else:
            server = server_address(
                parts._replace(scheme=parts.scheme.removeprefix(f"{SCHEME}+"), query="").geturl(), environment
            )
        options = _options(url, parts.query)
        name, alias = options.get("name"), options.get("alias")
        if name is not None:
            check_name(name)
        if alias is not None:
            check_alias(alias)
        experiment = options.get("experiment") or environment.get(EXPERIMENT_VARIABLE) or EXPERIMENT
        return cls(server, name, alias, experiment)


def server_address(address: str | None, environment: Mapping[str, str]) -> str:
    """Return the address of a server: the one that is given, or that of the environment.

    Raises:
        ConfigurationError: There is none, or it is no HTTP address, or it has a password in it.
    """
    given = address if address is not None else environment.get(SERVER_VARIABLE)
    if not given:
        raise ConfigurationError(f"which MLflow server? Set {SERVER_VARIABLE}, or give its address")
    parts = urlsplit(given)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError(
            f"an MLflow server at '{given}' cannot be opened; expected http://HOST[:PORT] or https://HOST: Penstock "
            "speaks to servers, not to their databases"
        )
    if parts.username is not None or parts.password is not None:
        raise ConfigurationError(
            f"the address of the MLflow server {parts.hostname} has credentials in it, and addresses are written down; "
            "give them as MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
        )
    return given.rstrip("/")


def check_name(name: str) -> None:
    """Refuse what MLflow does not take for the name of a registered model.

    Raises:
        ConfigurationError: It is none.
    """
    if not _NAME.fullmatch(name):
        raise ConfigurationError(f"'{name}' is no name of a registered model: no / : ' \" and at most 250 characters")


def check_alias(alias: str) -> None:
    """Refuse what MLflow does not take for an alias.

    Raises:
        ConfigurationError: It is none.
    """
    if not _ALIAS.fullmatch(alias):
        raise ConfigurationError(
            f"'{alias}' is no alias: letters, digits, _ and -, and neither 'latest' nor 'v' and a number"
        )


def _options(url: str, query: str) -> dict[str, str]:
    pairs = parse_qsl(query, keep_blank_values=True)
    options = dict(pairs)
    if len(options) != len(pairs) or not all(options.values()):
        raise ConfigurationError(f"'{url}': each of {', '.join(options)} needs one value")
    if unknown := sorted(set(options) - set(_OPTIONS)):
        raise ConfigurationError(f"'{url}': unknown option '{unknown[0]}'; there are {', '.join(_OPTIONS)}")
    return options
