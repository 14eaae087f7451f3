"""A value behaves as a frozen dataclass does, and is made like one."""

import copy
import inspect
import pickle

import pytest

from intendant.supervisor import Backoff, ChildCrashed, ChildSpec, ChildStarted, ChildStarting, Intensity, replace
from intendant.supervisor.value import Value


class Place(Value):
    street: str
    number: int = 1
    floor: int = 0


def test_fields_are_given_in_order_or_by_name_or_are_their_defaults() -> None:
    place = Place("high", floor=2)
    assert place == Place("high", 1, 2) == Place(floor=2, number=1, street="high")
    assert (place.street, place.number, place.floor) == ("high", 1, 2)
    match place:
        case Place(street, number):
            assert (street, number) == ("high", 1)


def test_only_the_same_class_with_the_same_fields_is_equal_and_hashes_alike() -> None:
    assert ChildStarted("a") == ChildStarted("a")
    assert ChildStarted("a") != ChildStarted("b")
    assert ChildStarted("a") != ChildStarting("a")
    assert len({Place("high", floor=2), Place(floor=2, street="high"), Place("low")}) == 2


def test_it_can_t_be_changed_but_replaced() -> None:
    place = Place("high")
    with pytest.raises(AttributeError, match="Place can't be changed"):
        place.number = 2  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(AttributeError, match="Place can't be changed"):
        del place.number  # pyright: ignore[reportAttributeAccessIssue]
    assert replace(place, number=2) == Place("high", 2)
    with pytest.raises(ValueError, match="restarts must be 0 or more"):
        replace(Intensity(), restarts=-1)
    with pytest.raises(TypeError, match=r"Place\(\) got an unexpected argument 'town'"):
        replace(place, town="x")


def test_arguments_that_do_not_fit_are_told() -> None:
    make: type = Place  # wrong calls on purpose
    with pytest.raises(TypeError, match=r"Place\(\) is missing 'street'"):
        make(number=1)
    with pytest.raises(TypeError, match=r"Place\(\) got 'street' twice"):
        make("high", street="low")
    with pytest.raises(TypeError, match=r"Place\(\) takes 3 arguments, 4 were given"):
        make("high", 1, 2, 3)


def test_it_tells_its_fields_and_its_signature() -> None:
    assert repr(Place("high", 2)) == "Place(street='high', number=2, floor=0)"
    assert list(inspect.signature(ChildSpec).parameters)[:3] == ["id", "start", "restart"]
    assert inspect.signature(Backoff).parameters["factor"].default == 2.0


def test_it_can_be_copied_and_pickled() -> None:
    for value in (Place("high"), ChildCrashed("a/b", KeyError("x"), 1)):
        assert repr(copy.deepcopy(value)) == repr(pickle.loads(pickle.dumps(value))) == repr(value)
    assert copy.copy(Place("high")) == Place("high")
