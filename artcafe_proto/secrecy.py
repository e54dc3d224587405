"""What holds a secret keeps it to itself, and what was given one forgets it when it fails (TOK-4)."""

from __future__ import annotations

from functools import wraps
from traceback import clear_frames
from typing import TYPE_CHECKING, Final, Generic, NoReturn, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Secret", "Secretive", "forget_locals", "forgetful"]

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class Secretive:
    """Base of what holds a key, a token, a challenge or a signature: no copy of it leaves the process.

    What holds such an object refuses with it. Its `repr` shows nothing of the secret, and neither does `vars`: that is
    each class's own affair, by slots or by a `Secret`.
    """

    __slots__ = ()

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"a {type(self).__name__} is not for copying or pickling: it holds what is secret (TOK-4)")

    def __copy__(self) -> NoReturn:  # a struct would copy itself
        self.__reduce__()

    def __deepcopy__(self, memo: object) -> NoReturn:
        self.__reduce__()

    def __rich_repr__(self) -> None:
        """Have rich show the `repr`: a struct's own answer would be all its fields."""


class Secret(Secretive, Generic[T]):
    """A value in an object that has other things to show."""

    __slots__ = ("value",)

    def __init__(self, value: T) -> None:
        self.value: Final = value

    def __repr__(self) -> str:
        return "Secret(…)"


def forgetful(function: Callable[P, R]) -> Callable[P, R]:
    """A `function` whose errors do not remember what it was given.

    A traceback keeps the local variables of its frames, and what reports errors for developers likes to show them.
    """

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            del args, kwargs
            forget_locals(error)
            raise

    return call


def forget_locals(error: BaseException) -> None:
    """Clear the local variables of the frames that `error` has come through, and of those of what led to it."""
    left: list[BaseException | None] = [error]
    seen: set[int] = set()  # chains have been seen that lead back to their beginning
    while left:
        each = left.pop()
        if each is not None and id(each) not in seen:  # whatever an author's class makes of `==` and of `bool`
            seen.add(id(each))
            clear_frames(each.__traceback__)
            left += (each.__cause__, each.__context__)
