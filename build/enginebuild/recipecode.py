"""The recipe's own Python files: found inside its folder, imported, called, and cleaned up after."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, Self

from enginebuild.recipe.references import split_function
from services.core.errors import ConfigurationError


class RecipeCode:
    """The code of one recipe, importable while the context is open.

    Files of the folder may import one another by name (``from model import net``), as they can when one of them is run
    as a script. Leaving the context forgets them, so that the ``model.py`` of the next recipe is another module.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._shadowed: dict[str, ModuleType] = {}
        self._before: set[str] = set()

    def __enter__(self) -> Self:
        self._before = set(sys.modules)
        sys.path.insert(0, str(self._folder))
        importlib.invalidate_caches()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        sys.path.remove(str(self._folder))
        for name, module in list(sys.modules.items()):
            file = getattr(module, "__file__", None)
            # A folder may hold the environment of the whole project: what is installed there is not the recipe's.
            own = file and Path(file).is_relative_to(self._folder) and "site-packages" not in Path(file).parts
            if own and name not in self._before:
                del sys.modules[name]
        sys.modules.update(self._shadowed)

    def path(self, relative: str) -> Path:
        """Return the path of a file that the recipe names, which need not exist.

        Raises:
            ConfigurationError: A link leads out of the recipe's folder.
        """
        path = (self._folder / relative).resolve()
        if not path.is_relative_to(self._folder):
            raise ConfigurationError(f"'{relative}' leads to {path}, out of the recipe's folder {self._folder}")
        return path

    def function(self, reference: str) -> Callable[..., Any]:
        """Import a ``file.py:function``, or a ``package.module:function`` that is installed.

        Calling it turns whatever it raises into a ConfigurationError.

        Raises:
            ConfigurationError: No such file or function, or the file cannot be imported.
        """
        file, name = split_function(reference)
        module = self._module(file) if file.endswith(".py") else _installed(file)
        function = getattr(module, name, None)
        if not callable(function):
            raise ConfigurationError(f"'{reference}': {module.__file__ or file} has no function '{name}'")

        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                return function(*args, **kwargs)
            except (Exception, SystemExit) as error:
                raise ConfigurationError(f"'{reference}' failed: {type(error).__name__}: {error}") from error

        return call

    def _module(self, file: str) -> ModuleType:
        path = self.path(file)
        if not path.is_file():
            raise ConfigurationError(f"'{file}': there is no such file in {self._folder}")
        name = ".".join(Path(file).with_suffix("").parts)
        loaded = sys.modules.get(name)
        if loaded is not None and Path(getattr(loaded, "__file__", None) or "") == path:
            return loaded
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise ConfigurationError(f"'{file}': Python cannot import {path}")
        module = importlib.util.module_from_spec(spec)
        if loaded is not None:
            self._shadowed.setdefault(name, loaded)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except (Exception, SystemExit) as error:
            del sys.modules[name]
            raise ConfigurationError(f"'{file}' cannot be imported: {type(error).__name__}: {error}") from error
        return module


def _installed(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        raise ConfigurationError(
            f"'{name}' cannot be imported: {type(error).__name__}: {error}; install it beside penstock, or write "
            "file.py:function for a file of the recipe's folder"
        ) from error
