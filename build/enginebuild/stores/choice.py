"""Which store a URL means."""

from __future__ import annotations

from enginebuild.stores.object_store import ObjectStore
from enginebuild.stores.oci_registry import SCHEME, OciRegistry
from enginebuild.stores.store import Store


def open_store(url: str) -> Store:
    """Return the store of a URL: ``oci://`` is a registry, everything else an object store.

    Raises:
        ConfigurationError: It is none that can be opened.
        MissingDependency: What opens it is not installed.
    """
    return OciRegistry(url) if url.startswith(SCHEME) else ObjectStore(url)
