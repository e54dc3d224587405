"""Reads what a platform answers over HTTP from outside: piece by piece, and by the letter of RFC 9112."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

_STATUS_LINE: Final = re.compile(rb"HTTP/1\.1 ([2-5][0-9][0-9]) [^\r\n]*\r\n")
_WITHOUT_BODY: Final = 204


class Begun(msgspec.Struct, frozen=True):
    """The head of a response."""

    status: int


class Piece(msgspec.Struct, frozen=True):
    """Some of its body."""

    data: bytes


class Ended(msgspec.Struct, frozen=True):
    """It is whole."""


class ResponseReader:
    """One connection's responses."""

    def __init__(self) -> None:
        self.unread: bytes = b""
        """What has come and is not read yet."""
        self._is_in_body = False
        self._is_chunked = False
        self._left = 0
        """Of a body with a length."""

    def receive(self, data: bytes, *, to_head: bool) -> Iterator[Begun | Piece | Ended]:
        """What has come of a response; `to_head`: it is one to HEAD. Raises ValueError for what is no response."""
        self.unread += data
        if not self._is_in_body:
            head, separator, rest = self.unread.partition(b"\r\n\r\n")
            if not separator:
                return
            self.unread = rest
            yield self._begin(head + b"\r\n", to_head=to_head)
        body = self._read_chunks if self._is_chunked else self._read_length
        for piece in body():
            self._is_in_body = piece != Ended()
            yield piece

    def _begin(self, head: bytes, *, to_head: bool) -> Begun:
        line = _STATUS_LINE.match(head)
        if line is None:
            raise ValueError(f"expected a status line, got {head[:40]!r}")
        fields = dict(field.split(b": ", 1) for field in head[line.end() :].lower().splitlines())
        status = int(line[1])
        has_body = not to_head and status != _WITHOUT_BODY
        self._is_chunked = has_body and fields.get(b"transfer-encoding") == b"chunked"
        self._left = int(fields[b"content-length"]) if has_body and not self._is_chunked else 0
        self._is_in_body = True
        return Begun(status)

    def _read_length(self) -> Iterator[Piece | Ended]:
        data, self.unread = self.unread[: self._left], self.unread[self._left :]
        self._left -= len(data)
        yield Piece(data)
        if not self._left:
            yield Ended()

    def _read_chunks(self) -> Iterator[Piece | Ended]:
        while True:
            line, separator, rest = self.unread.partition(b"\r\n")
            if not separator or len(rest) < (size := int(line, 16)) + 2:
                return
            data, end, self.unread = rest[:size], rest[size : size + 2], rest[size + 2 :]
            if end != b"\r\n":
                raise ValueError(f"expected the end of a chunk, got {end!r}")
            if not size:
                yield Ended()
                return
            yield Piece(data)
