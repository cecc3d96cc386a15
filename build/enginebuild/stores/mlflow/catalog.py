"""Which versions of registered models in MLflow are Penstock's, under its own numbers.

MLflow counts the versions of a registered model itself, so Penstock's number is a tag. MLflow has no conditional write:
of several versions that were registered under one number the first one counts, for everybody.
"""

from __future__ import annotations

from typing import Any

from enginebuild.stores.mlflow import record
from enginebuild.stores.mlflow.place import MlflowPlace, check_name
from enginebuild.stores.mlflow.server import MlflowServer
from services.core.errors import NotFound, Unavailable

_PAGE = 200
_READY_WITHIN_S = 60
_READY = "READY"


class MlflowCatalog:
    """The registered models of one place.

    A version is MLflow's own object: ``name``, ``version``, ``source``, ``run_id`` and ``tags``.

    Args:
        server: The server.
        place: How a model's versions are kept there.
    """

    def __init__(self, server: MlflowServer, place: MlflowPlace) -> None:
        self._server, self._place, self._client = server, place, server.client

    def registered(self, model: str) -> dict[int, Any]:
        """Return the versions of a model that Penstock registered, by its own numbers."""
        name = self._name(model)
        found: dict[int, Any] = {}
        token = None
        while True:
            with self._server.errors(f"versions of '{name}'"):
                page = self._client.search_model_versions(f"name='{name}'", max_results=_PAGE, page_token=token)
            for version in page:
                number = _number(version, model)
                if number and (number not in found or int(version.version) < int(found[number].version)):
                    found[number] = version
            token = page.token
            if not token:
                return found

    def visible(self, model: str) -> dict[int, Any]:
        """Return the versions that are there to be pulled: all, or the one that the place's alias points to.

        Raises:
            NotFound: There is no such alias, or it points to a version that is not Penstock's.
        """
        found, alias = self.registered(model), self._place.alias
        if alias is None or not found:
            return found
        name = self._name(model)
        aimed = self._server.by_alias(name, alias)
        chosen = {number: version for number, version in found.items() if version.version == aimed.version}
        if not chosen:
            raise NotFound(
                f"alias '{alias}' of '{name}' is version {aimed.version} in MLflow, which is no version of '{model}' "
                "that Penstock pushed"
            )
        return chosen

    def register(self, model: str, run: Any, tags: dict[str, str], description: str) -> Any:
        """Register a run's artifacts as a version, with its number among the tags.

        Returns:
            What counts under the number now: that version, or one that somebody registered before.

        Raises:
            Unavailable: It does not become ready.
        """
        name = self._name(model)
        with self._server.errors(f"'{name}'"):
            self._ensure(name)
            made = self._client.create_model_version(
                name, run.artifact_uri, run.run_id, tags, description=description, await_creation_for=_READY_WITHIN_S
            )
        first = self.registered(model).get(int(tags[record.VERSION_TAG]))
        if first is None:
            raise Unavailable(
                f"MLflow at {self._server.address} took version {made.version} of '{name}', but does not show it as "
                f"{_READY}; look there, or push again"
            )
        if first.version != made.version:  # or this one was registered twice, because an answer was lost on the way
            with self._server.errors(f"version {made.version} of '{name}'"):
                self._client.delete_model_version(name, made.version)
        return first

    def point(self, version: Any) -> None:
        """Let the place's alias point to a version, where it has one."""
        if self._place.alias is not None:
            with self._server.errors(f"alias '{self._place.alias}' of '{version.name}'"):
                self._client.set_registered_model_alias(version.name, self._place.alias, version.version)

    def _ensure(self, name: str) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self._client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _name(self, model: str) -> str:
        name = self._place.name or model
        check_name(name)
        return name


def _number(version: Any, model: str) -> int:
    """Return Penstock's number of a version; 0 for one that is not whole, or not of this model, or not Penstock's."""
    number = version.tags.get(record.VERSION_TAG, "")
    whole = version.status == _READY and record.MANIFEST_TAG in version.tags
    own = version.tags.get(record.MODEL_TAG) == model and number.isascii() and number.isdecimal()
    return int(number) if whole and own else 0
