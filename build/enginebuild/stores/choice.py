"""Which store a URL means."""

from __future__ import annotations

from enginebuild.stores.mlflow import place
from enginebuild.stores.mlflow.registry import MlflowRegistry
from enginebuild.stores.object_store import ObjectStore
from enginebuild.stores.oci_registry import SCHEME, OciRegistry
from enginebuild.stores.store import Store


def open_store(url: str) -> Store:
    """Return the store of a URL: ``oci://`` is a registry, ``mlflow+https://`` is MLflow, all else an object store.

    Raises:
        ConfigurationError: It is none that can be opened.
        MissingDependency: What opens it is not installed.
    """
    if url.startswith((f"{place.SCHEME}:", f"{place.SCHEME}+")):
        return MlflowRegistry(url)
    return OciRegistry(url) if url.startswith(SCHEME) else ObjectStore(url)
