"""HTTP requests and responses as values: what machines exchange with wires, without a byte of framing."""

from __future__ import annotations

import msgspec

from artcafe_proto.instants import parse_http_date
from artcafe_proto.limits import MAX_RETRY_AFTER_S
from artcafe_proto.secrecy import Secretive

__all__ = ["Headers", "HttpRequest", "HttpResponse"]

Headers = tuple[tuple[str, str], ...]
"""Header fields in order; names in lower case."""


def ascii_lower(text: str) -> str:
    """A token in lower case: `str.lower` makes ASCII of other letters, as of the Kelvin sign (RFC 9110 section 5.6)."""
    return text.encode("utf-8", "surrogatepass").lower().decode("utf-8", "surrogatepass")


def trimmed(text: str) -> str:
    """`text` without the white space that HTTP knows, unlike `str.strip`: space and tab (RFC 9110 section 5.6.3)."""
    return text.strip(" \t")


JSON_HEADERS: Headers = (("content-type", "application/json"),)


class _Message(Secretive, msgspec.Struct, frozen=True, kw_only=True, gc=False):
    headers: Headers = ()
    body: bytes = b""

    def header(self, name: str) -> str | None:
        """The value of the first field `name` (lower case), or None."""
        return next((value for key, value in self.headers if key == name), None)

    @property
    def codings(self) -> set[str]:
        """What the body is encoded in, if in anything (RFC 9110 section 8.4). No body is inflated: a few bytes could
        become any number.
        """
        named = {ascii_lower(trimmed(value)) for key, value in self.headers if key == "content-encoding"}
        return named - {"identity"}


class HttpRequest(_Message, frozen=True, kw_only=True, gc=False):
    """One HTTP request. `target` is the origin-form (RFC 9112 section 3.2.1): path and query."""

    method: str
    target: str

    def __repr__(self) -> str:  # headers, body and query may hold a token, a challenge or a signature (TOK-4)
        path, mark, _ = self.target.partition("?")
        return f"HttpRequest({self.method} {path}{mark and '?…'}, {len(self.headers)} headers, {len(self.body)} bytes)"


class HttpResponse(_Message, frozen=True, kw_only=True, gc=False):
    """One HTTP response. `reusable` says whether its connection may carry another request (RFC 9112 section 9.3)."""

    status: int
    reusable: bool = True

    def __repr__(self) -> str:  # the body may hold a token or a challenge (TOK-4)
        return f"HttpResponse({self.status}, {len(self.headers)} headers, {len(self.body)} bytes)"

    @property
    def date(self) -> float | None:
        """POSIX seconds of the Date field, or None."""
        text = self.header("date")
        return None if text is None else parse_http_date(text)

    @property
    def retry_after_s(self) -> float:
        """Seconds of the Retry-After field, a number or a date minus this response's Date, at most 1 h (LINK-3)."""
        text = trimmed(self.header("retry-after") or "")
        if text.isascii() and text.isdigit():
            seconds = float(text[:10])
        else:
            until, date = parse_http_date(text), self.date
            seconds = 0.0 if until is None or date is None else until - date
        return min(max(seconds, 0.0), MAX_RETRY_AFTER_S)
