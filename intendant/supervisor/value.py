"""Values: what is given or told, and never changes. Written as dataclasses are, but not made by `dataclasses`.

That writes and compiles the methods of each class anew whenever it is imported: for those of this package it would be a
sixth of what importing Intendant takes.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self, TypeVar, dataclass_transform

__all__ = ["Value", "replace"]

T = TypeVar("T", bound="Value")


class _Signature:
    """Tells `inspect` what a value is made of; made when asked for."""

    def __get__(self, instance: object, owner: type[Value]) -> Any:
        from inspect import Parameter, Signature, get_annotations  # noqa: PLC0415  only for documentation

        return Signature(
            [
                Parameter(
                    name,
                    Parameter.POSITIONAL_OR_KEYWORD,
                    default=getattr(owner, name, Parameter.empty),
                    annotation=annotation,
                )
                for name, annotation in get_annotations(owner, eval_str=True).items()
            ]
        )


@dataclass_transform(frozen_default=True)
class Value:
    """A class with frozen fields: the annotations of a subclass, in their order, with their defaults.

    Only another of the same class can be equal.
    """

    __match_args__: ClassVar[tuple[str, ...]] = ()
    __signature__: ClassVar[Any] = _Signature()

    def __init_subclass__(cls) -> None:
        cls.__match_args__ = tuple(cls.__annotations__)  # type: ignore[misc]  # mypy knows only literals

    def __init__(self, *args: Any, **named: Any) -> None:
        names = self.__match_args__
        if named or len(args) != len(names):
            args = self._arguments(args, named)
        self.__dict__.update(zip(names, args, strict=False))  # they are as many
        self.__post_init__()

    def __post_init__(self) -> None:
        """Raise ValueError for fields that can't be meant."""

    @classmethod
    def _arguments(cls, args: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, ...]:
        """One for each field. Raises TypeError as a function with these parameters would."""
        names, what = cls.__match_args__, f"{cls.__qualname__}()"
        if len(args) > len(names):
            raise TypeError(f"{what} takes {len(names)} arguments, {len(args)} were given")
        given = dict(zip(names, args, strict=False))
        for name in named:
            if name not in names:
                raise TypeError(f"{what} got an unexpected argument {name!r}")
            if name in given:
                raise TypeError(f"{what} got {name!r} twice")
        given |= named
        if missing := [name for name in names if name not in given and not hasattr(cls, name)]:
            raise TypeError(f"{what} is missing {', '.join(map(repr, missing))}")
        return tuple(given[name] if name in given else getattr(cls, name) for name in names)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__qualname__} can't be changed, nor can {name!r} be set")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__qualname__} can't be changed, nor can {name!r} be deleted")

    def __eq__(self, other: object) -> bool:
        return self.__dict__ == other.__dict__ if type(other) is type(self) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self.__dict__.values()))

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in self.__dict__.items())
        return f"{type(self).__qualname__}({fields})"

    def __replace__(self, **changes: Any) -> Self:
        return type(self)(**{**self.__dict__, **changes})


def replace(value: T, **changes: Any) -> T:
    """Another value like this one, but for these fields. Raises TypeError for a field it does not have."""
    return value.__replace__(**changes)
