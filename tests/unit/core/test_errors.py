"""One table from errors to statuses."""

import pytest

from services.core import errors

TREE = [
    cls
    for cls in vars(errors).values()
    if isinstance(cls, type) and issubclass(cls, errors.PenstockError) and cls is not errors.PenstockError
]


@pytest.mark.parametrize("cls", TREE)
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
