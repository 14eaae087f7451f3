"""That `make mutants` plants what it says. That each is found takes minutes, and is looked at there."""

from __future__ import annotations

import ast

import pytest

from tests.mutants.mutant import Mutant, mutants, promises

ALL = mutants()


@pytest.mark.parametrize("mutant", ALL, ids=lambda mutant: mutant.name)
def test_it_changes_one_place_into_another_program(mutant: Mutant) -> None:
    path, sound, mutated = mutant.edit()
    assert mutated != sound
    if path.suffix == ".py":
        assert ast.dump(ast.parse(mutated)) != ast.dump(ast.parse(sound))


def test_each_has_a_name_of_its_own() -> None:
    assert len({each.name for each in ALL}) == len(ALL)


def test_each_promise_has_some_and_names_what_should_find_them() -> None:
    assert {each.promise for each in ALL} == set(dict(promises()))
