"""What an exception that a connection could not be opened with, or that has ended one, is to the protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from artcafe_proto.readable import text_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from artcafe_proto.effects import ConnectFailure

__all__ = ["cause_of", "told_by"]

_CAUSES: Final[dict[str, ConnectFailure]] = {
    "SSLError": "tls",
    "gaierror": "dns",
    "UnicodeError": "dns",  # a label that no host name has
    "ConnectionRefusedError": "refused",
    "TimeoutError": "timeout",
}
"""By the name of a class, so that what a library calls the same counts as well."""


def cause_of(error: BaseException | str) -> ConnectFailure:
    """Which cause of `connect_failed` an exception is: by its class, or those of the exceptions that it stands for."""
    if isinstance(error, str):
        return "other"
    for each in _stands_for(error):
        for kind in type(each).__mro__:
            if kind.__name__ in _CAUSES:
                return _CAUSES[kind.__name__]
    return "other"


def _stands_for(error: BaseException) -> Iterator[BaseException]:
    """An exception, and what it was raised from; of a group its members."""
    ahead, seen = [error], set[int]()
    while ahead:
        each = ahead.pop(0)
        if id(each) not in seen:  # authors can make circles of them
            seen.add(id(each))
            if isinstance(each, BaseExceptionGroup):
                ahead += cast("BaseExceptionGroup[BaseException]", each).exceptions
            else:
                yield each
            if each.__cause__ is not None:
                ahead.append(each.__cause__)


def told_by(error: BaseException | str) -> str:
    """What an exception says, or one that it stands for; else the name of its class."""
    if isinstance(error, str):
        return error
    return next((text for each in _stands_for(error) if (text := text_of(each))), type(error).__name__)
