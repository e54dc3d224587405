"""The turns of a driver, as contexts: what is raised within one is the caller's affair, or an error of the driver."""

from __future__ import annotations

from typing import TYPE_CHECKING

from artcafe_proto.errors import ArtCafeError

if TYPE_CHECKING:
    from collections.abc import Callable

    from artcafe_proto.instants import Instant


class _OneTurn:
    """The context of a call of a driver. One serves all calls of a kind, and costs a fraction of a generator."""

    __slots__ = ("_begin", "_end")

    def __init__(self, begin: Callable[[], Instant], end: Callable[[Exception | None], None]) -> None:
        self._begin = begin
        self._end = end

    def __enter__(self) -> Instant:
        return self._begin()


class Turn(_OneTurn):
    """Of whoever calls the agent: an ArtCafeError tells what was wrong with that."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object, /) -> None:
        self._end(error if isinstance(error, Exception) and not isinstance(error, ArtCafeError) else None)


class OwnTurn(_OneTurn):
    """Of the loop, which may have nobody to raise an error to: whatever is raised is ours."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object, /) -> bool:
        is_ours = isinstance(error, Exception)
        self._end(error if is_ours else None)
        return is_ours
