"""What a caller may not hand in: LocalProtocolError, before anything has changed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, TypeVar, cast, get_args

from artcafe_proto.effects import ConnectFailure, PersistFailure
from artcafe_proto.errors import LocalProtocolError, RemoteProtocolError
from artcafe_proto.exchanges import HttpRequest, HttpResponse
from artcafe_proto.limits import MAX_CLOSE_REASON_BYTES, MAX_SIGNATURE_BYTES
from artcafe_proto.messages import FINAL_CODES, STATUSES

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import SupportsFloat

T = TypeVar("T", bound=str)

_CAUSES: Final[tuple[str, ...]] = get_args(ConnectFailure)


def check_read(conn: object, data: object) -> None:
    """Refuse what no read of a stream brings. One that brings no byte is the stream's end."""
    check_number(conn, "a connection")
    check_bytes(data)
    if not data:
        raise LocalProtocolError("expected at least one byte: where a read brings none, call eof_received")


def check_bytes(data: object) -> None:
    """Refuse what is not bytes."""
    if not isinstance(data, bytes | bytearray | memoryview):
        raise LocalProtocolError(f"expected bytes, not {type(data).__name__}")
    if isinstance(data, memoryview) and not (data.contiguous and data.itemsize == data.ndim == 1):
        raise LocalProtocolError("expected a memoryview of bytes without gaps: take `bytes` of it")


def check_connected(conn: object, tls: object) -> None:
    """Refuse what is no answer to `Connect`."""
    check_number(conn, "a connection")
    check_flag(tls, "tls")


def check_connect_failed(conn: object, cause: object, detail: object) -> None:
    """Refuse what is no answer to `Connect`, such as a cause that there is not (LINK-3)."""
    check_number(conn, "a connection")
    if cause not in _CAUSES:
        raise LocalProtocolError(f"expected one of the causes {', '.join(_CAUSES)}, not {cause!r}")
    check_text(detail, "a detail")


def check_disconnected(conn: object, reason: object) -> None:
    """Refuse what names no connection, and a reason that is no text."""
    check_number(conn, "a connection")
    check_reason(reason)


def check_payload(conn: object, payload: object) -> None:
    """Refuse what is no payload of a message."""
    check_number(conn, "a connection")
    if not isinstance(payload, bytes):
        raise LocalProtocolError(f"expected a payload as bytes, not {type(payload).__name__}")


def check_acked(conn: object, message_id: object, settled_by: str) -> None:
    """Refuse what acknowledges no message, or to a machine that goes by something else (CMD-3)."""
    check_number(conn, "a connection")
    check_text(message_id, "a message's id")
    if settled_by != "acknowledgement":
        raise LocalProtocolError(f"expected a machine that is settled_by acknowledgement, not {settled_by}")


def check_close_received(conn: object, code: object, reason: object) -> None:
    """Refuse what no close frame says."""
    check_disconnected(conn, reason)
    check_number(code, "a close frame")


def check_peer_failed(conn: object, error: object) -> None:
    """Refuse what is no failure of a peer."""
    check_number(conn, "a connection")
    if not isinstance(error, RemoteProtocolError):
        raise LocalProtocolError(f"expected a RemoteProtocolError, not {type(error).__name__}")


def check_exchange(conn: object, exchange: object) -> None:
    """Refuse what names no exchange."""
    check_number(conn, "a connection")
    check_number(exchange, "an exchange")


def check_response(conn: object, exchange: object, response: object) -> None:
    """Refuse what is no response to an exchange."""
    check_exchange(conn, exchange)
    check_http_response(response)


def check_http_response(response: object) -> None:
    """Refuse what is no response."""
    if not isinstance(response, HttpResponse):
        raise LocalProtocolError(f"expected an HttpResponse, not {type(response).__name__}")


def check_accepted(conn: object, address: object) -> None:
    """Refuse what cannot be the number of a connection that was accepted, or the address of its peer."""
    if type(conn) is not int or conn < 0:
        raise LocalProtocolError(f"expected the number of a connection, 0 or more, not {_came(conn)}")
    check_address(address)


def check_address(address: object) -> None:
    """Refuse what is no address of a peer, such as the pair that a socket has."""
    if address is not None:
        check_text(address, "an address")


def check_request(exchange: object, request: object, upgrade: object) -> None:
    """Refuse what is no request that came on a connection."""
    check_number(exchange, "an exchange")
    check_flag(upgrade, "upgrade")
    check_http_request(request)


def check_http_request(request: object) -> None:
    """Refuse what is no request."""
    if not isinstance(request, HttpRequest):
        raise LocalProtocolError(f"expected an HttpRequest, not {type(request).__name__}")
    check_text(request.method, "a method")
    check_text(request.target, "a target")
    _check_headers(request.headers)
    check_bytes(request.body)


def check_respond(exchange: object, response: HttpResponse, more: object, after: object) -> None:
    """Refuse what is no answer to a request, whatever it is written to."""
    check_number(exchange, "an exchange")
    check_flag(more, "more")
    check_number(after, "a batch")
    check_answer(response)


def check_answer(response: HttpResponse) -> None:
    """Refuse what is no answer of a server."""
    check_http_response(response)
    status = cast("object", response.status)
    if not isinstance(status, int) or not 200 <= status <= 599:
        raise LocalProtocolError(f"an answer has a status from 200 to 599, not {_came(status)} (RFC 9110 section 15)")
    _check_headers(response.headers)
    check_bytes(response.body)
    if status == 205 and len(response.body):
        raise LocalProtocolError("a 205 has no body (RFC 9110 section 15.3.6)")


def _check_headers(headers: object) -> None:
    try:
        pairs = cast("Iterable[tuple[object, object]]", headers)
        is_sound = all(_is_lower(name) and isinstance(value, str) for name, value in pairs)
    except (TypeError, ValueError):
        is_sound = False
    if not is_sound:
        raise LocalProtocolError("expected headers as pairs of texts, each name in lower case")


def _is_lower(name: object) -> bool:
    return isinstance(name, str) and name == name.lower()


def check_persist_failure(reason: object) -> None:
    """Refuse what is no reason why records could not be stored."""
    if reason not in get_args(PersistFailure):
        raise LocalProtocolError(f"expected {' or '.join(get_args(PersistFailure))}, not {_came(reason)}")


def check_page(after: object, limit: object) -> None:
    """Refuse what is no part of a list."""
    if after is not None:
        check_text(after, "the id to go on after")
    if type(limit) is not int or limit < 1:
        raise LocalProtocolError(f"expected a limit of 1 or more, not {_came(limit)}")


def check_send_body(exchange: object, data: object, more: object, after: object) -> None:
    """Refuse what is no piece of a body."""
    check_number(exchange, "an exchange")
    check_flag(more, "more")
    check_number(after, "a batch")
    check_bytes(data)


def check_number(value: object, what: str) -> None:
    """Refuse what is no number that effects and events name, such as that of a connection."""
    if not isinstance(value, int):
        raise LocalProtocolError(f"expected the number of {what}, not {type(value).__name__}")


def check_flag(value: object, what: str) -> None:
    """Refuse what is neither True nor False."""
    if not isinstance(value, bool):
        raise LocalProtocolError(f"expected {what} as True or False, not {type(value).__name__}")


def check_text(value: object, what: str) -> None:
    """Refuse what is no text, such as an id that is a number."""
    if not isinstance(value, str):
        raise LocalProtocolError(f"expected {what} as text, not {type(value).__name__}")


def check_unsent(nbytes: object, conn: object, unwritten_bytes: object = 0) -> None:
    """Refuse what is no number of bytes (LINK-8)."""
    check_number(conn, "a connection")
    for value, what in ((nbytes, "unsent"), (unwritten_bytes, "unwritten")):
        if not isinstance(value, int) or value < 0:
            raise LocalProtocolError(f"expected the number of {what} bytes, 0 or more, not {_came(value)}")


def check_signed(request: object, signature: object) -> None:
    """Refuse what no signer makes (AUTH-3)."""
    check_number(request, "a request")
    if not isinstance(signature, bytes) or len(signature) > MAX_SIGNATURE_BYTES:
        came = f"{len(signature)} bytes" if isinstance(signature, bytes) else type(signature).__name__
        raise LocalProtocolError(f"expected a signature of at most {MAX_SIGNATURE_BYTES} bytes, not {came}")


def check_sign_failed(request: object, reason: object) -> None:
    """Refuse what names no request, and a reason that is no text."""
    check_number(request, "a request")
    check_reason(reason)


def check_failure(code: object, reason: object) -> None:
    """Refuse what is no final code, and a reason that is no text (CMD-9)."""
    if not isinstance(code, str) or code not in FINAL_CODES:
        raise LocalProtocolError(f"expected one of the codes {', '.join(sorted(FINAL_CODES))}, not {code!r}")
    check_reason(reason)


def check_reason(reason: object) -> None:
    """Refuse a reason that is no text."""
    check_text(reason, "a reason")


def check_close(code: object, reason: object) -> None:
    """Refuse what no close frame may say (RFC 6455 sections 5.5.1 and 7.4)."""
    if not isinstance(code, int) or not any(code in codes for codes in _CLOSE_CODES):
        codes = ", ".join(f"{codes[0]} to {codes[-1]}" for codes in _CLOSE_CODES)
        raise LocalProtocolError(f"expected a close code of {codes}, not {_came(code)}")
    if not isinstance(reason, str):
        raise LocalProtocolError(f"expected a reason as text, not {type(reason).__name__}")
    size = len(reason.encode("utf-8", "replace"))
    if size > MAX_CLOSE_REASON_BYTES:
        raise LocalProtocolError(f"expected a reason of at most {MAX_CLOSE_REASON_BYTES} bytes of UTF-8, not {size}")


_CLOSE_CODES: Final = (range(1000, 1004), range(1007, 1015), range(3000, 5000))
"""Those that may be sent: of the protocol with IANA's registry of it, of libraries, and of applications."""


def _came(value: object) -> str:
    """What came in the place of a number, in a few characters."""
    return repr(value) if isinstance(value, int) and abs(value) < _LONG else f"a {type(value).__name__}"


_LONG: Final = 10**9


def checked_declared(status: T) -> T:
    """A status that an application may declare (STAT-1)."""
    if status not in ("online", "busy", "error"):
        raise LocalProtocolError(f"expected the status online, busy or error, not {status!r}; offline is a drain's")
    return plain_text(status)


def checked_status(status: T) -> T:
    """A status that an agent may have (STAT-1)."""
    if status not in STATUSES:
        raise LocalProtocolError(f"expected one of the statuses {', '.join(STATUSES)}, not {status!r}")
    return plain_text(status)


def checked_percentage(percent: SupportsFloat) -> float:
    """A command's progress as a plain number (STAT-4)."""
    number = plain_number(percent)
    if not 0 <= number <= 100:
        raise LocalProtocolError(f"progress is a percentage from 0 to 100, not {percent}")
    return number


def checked_metrics(cpu_usage: SupportsFloat, memory_usage: SupportsFloat) -> tuple[float, float]:
    """What heartbeats are to say, as plain numbers (HB-2)."""
    cpu, memory = plain_number(cpu_usage), plain_number(memory_usage)
    if not (0 <= cpu <= 100 and 0 <= memory < math.inf):
        raise LocalProtocolError(f"expected cpu 0 to 100 and memory in MiB, not {cpu_usage} and {memory_usage}")
    return cpu, memory


def plain_text(value: T) -> T:
    """The same text without a class of its own, such as numpy's, which JSON does not have."""
    return cast("T", str.__str__(value))


def plain_seconds(value: SupportsFloat) -> float:
    """The same seconds as JSON has them; NaN for what is no number."""
    return value if type(value) is int else plain_number(value)


def plain_number(value: SupportsFloat) -> float:
    """A number as JSON has it, NaN for what is no number: what is written later must not fail then."""
    try:
        return math.nan if isinstance(value, str | bytes) else float(value)
    except Exception:  # what a type of the application's raises
        return math.nan
