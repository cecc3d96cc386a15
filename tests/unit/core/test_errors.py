"""One table from errors to statuses."""

import pytest

from services.core import errors


def subclasses(cls: type[errors.PenstockError]) -> list[type[errors.PenstockError]]:
    return [found for child in cls.__subclasses__() for found in [child, *subclasses(child)]]


@pytest.mark.parametrize("cls", subclasses(errors.PenstockError))
def test_every_error_has_a_row_and_is_in_the_tree_that_the_docstring_draws(cls: type[errors.PenstockError]) -> None:
    assert cls in errors.STATUS
    assert cls.__name__ in (errors.__doc__ or "")


def test_a_foreign_error_is_internal_and_counts_against_the_server() -> None:
    assert errors.status_of(ZeroDivisionError()) == errors.INTERNAL
    assert errors.INTERNAL.server_fault


def test_a_clients_mistake_never_counts_against_a_version() -> None:
    for cls, status in errors.STATUS.items():
        assert status.server_fault == (status.http >= 500 and cls is not errors.Unimplemented), cls


def test_a_subclass_answers_like_its_ancestor() -> None:
    class Special(errors.NotFound):
        pass

    assert errors.status_of(Special("x")).http == 404
