"""What can go wrong at a step of an agent's way, done to a `played.Peer`: every failure has a name."""

from __future__ import annotations

from collections.abc import Callable
from email.utils import formatdate
from typing import Final

from artcafe_proto.effects import Sign
from support.played import Bench, Peer, frame, http

TRANSPORT: Final = ("refused", "timeout", "reset", "eof", "half-open", "cut short", "unasked bytes")
"""`half-open`: the peer falls silent, and nothing ends. `cut short`: half of what is due, then the end."""
AUTH_STATUSES: Final = ("400", "401", "403", "404", "422")
RETRY_AFTER: Final = {"429, Retry-After": 77.0, "503, Retry-After": 77.0, "503, Retry-After a date": 88.0}
LONG_RETRY_AFTER: Final = {"503, Retry-After 2 h": 3600.0}
STATUSES: Final = ("301", *AUTH_STATUSES, "429", "500", "503", *RETRY_AFTER, *LONG_RETRY_AFTER)
BODIES: Final = ("not JSON", "wrong types", "huge body", "endless body", "dripping body")
"""`dripping body`: a byte a second."""
WRONG_101: Final = ("bad accept", "extension", "subprotocol")
CLOSES: Final = {
    f"close {code or 'without code'}": code or 1005
    for code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1011, 1012, 1013, 4001, 4401, 4403, 4408, 4409, 0)
}
TOKENS: Final = ("valid:false", "token expired on receipt", "token expires between")
ACCEPTS: Final = ("accept-and-close", "accept-and-mute")
FAILURES: Final = (*TRANSPORT, *STATUSES, *BODIES, *WRONG_101, "unasked 101", *CLOSES, *TOKENS, *ACCEPTS)

LINK_STEPS: Final = ("first frame", "steady", "drain", "closing")


def strike(step: str, failure: str, peer: Peer) -> None:
    """Do `failure` to `peer` where `step` is due."""
    base = step.removeprefix("renewal ")
    if failure in CLOSES:
        assert peer.bench.link is not None
        peer.bench.link.close(CLOSES[failure])
    elif failure in STATUSES:
        peer.send(_status(peer.bench, failure))
    elif failure in ACCEPTS:
        _accept(base, failure, peer)
    elif base in ("connect", "TLS"):
        _fail_to_connect(base, failure, peer)
    elif failure == "refused" and base == "drain try":
        _fail_to_connect("connect", failure, peer)
    elif base == "sign" and failure in ("refused", "timeout"):
        peer.bench.agent.sign_failed(peer.bench.seen(Sign)[-1].request, failure, peer.bench.now)
    elif base == "sign" and failure in ("reset", "eof"):
        _in_an_exchange[failure](base, peer)
        peer.bench.at(0.0, lambda: peer.bench.agent.signed(peer.bench.seen(Sign)[-1].request, b"late", peer.bench.now))
    elif base in LINK_STEPS:
        _on_a_link[failure](peer)
    else:
        _in_an_exchange[failure](base, peer)


def _fail_to_connect(step: str, failure: str, peer: Peer) -> None:
    if failure == "half-open":
        return
    peer.is_open = False
    cause = "timeout" if failure == "timeout" else "tls" if step == "TLS" else "refused"
    peer.bench.agent.connect_failed(peer.conn, cause, failure, peer.bench.now)


def _accept(step: str, failure: str, peer: Peer) -> None:
    peer.is_mute = True
    if step in ("connect", "TLS"):
        peer.bench.agent.connected(peer.conn, peer.bench.now, tls=step == "TLS")
    else:
        peer.accept()
    if failure == "accept-and-close":
        peer.bench.at(0.0, peer.eof)


def _status(bench: Bench, failure: str) -> bytes:
    status, _, extra = failure.partition(", ")
    fields = [("location", "http://elsewhere.example/api/v1/auth/challenge"), ("www-authenticate", "Bearer")]
    if extra == "Retry-After a date":
        fields += [
            ("date", formatdate(bench.wall, usegmt=True)),
            ("retry-after", formatdate(bench.wall + 88, usegmt=True)),
        ]
    elif extra:
        fields.append(("retry-after", "7200" if extra.endswith("2 h") else "77"))
    return http(int(status), {"error": {"code": "no", "message": "no"}}, *fields)


# --- in an exchange ---------------------------------------------------------------------------------------------------


def _cut_short(step: str, peer: Peer) -> None:
    whole = http(101) if step in ("upgrade", "drain try") else peer.bench.proper_answer("challenge")
    peer.send(whole[:20])
    peer.eof()


def _endless_body(peer: Peer) -> None:
    peer.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    _pour(peer, b"400\r\n" + b"x" * 1024 + b"\r\n", most=128)


def _pour(peer: Peer, piece: bytes, *, most: int) -> None:
    """Send on and on, until the agent hangs up; it must before so many pieces."""
    for _ in range(most):
        peer.send(piece)
        peer.bench.drain()
        if not peer.is_open:
            return
    raise AssertionError(f"{most * len(piece)} bytes were taken")


def _drip(peer: Peer, data: bytes) -> None:
    """A byte a second, and nothing else meanwhile."""
    peer.is_mute = bool(data)
    if data:
        peer.send(data[:1])
        peer.bench.at(1.0, lambda: _drip(peer, data[1:]))


def _wrong_types(step: str, peer: Peer) -> None:
    peer.send(http(200, {"challenge": 5} if step == "challenge" else {"valid": "true", "token": ["a"]}))


def _expired_on_receipt(step: str, peer: Peer) -> None:
    if step == "verify":
        peer.send(http(200, {"valid": True, "token": peer.bench.new_token(life_s=-60.0)}))
    else:  # its first use
        peer.send(http(401))


def _unasked_bytes(step: str, peer: Peer) -> None:
    peer.send(http(408) if step == "sign" else b"\x16\x03\x01\x02\x00\x01\x00")


def _nothing(step: str, peer: Peer) -> None:
    peer.is_mute = True


_in_an_exchange: dict[str, Callable[[str, Peer], None]] = {
    "timeout": lambda step, peer: peer.reset("timed out"),
    "reset": lambda step, peer: peer.reset(),
    "eof": lambda step, peer: peer.eof(),
    "half-open": _nothing,
    "cut short": _cut_short,
    "unasked bytes": _unasked_bytes,
    "not JSON": lambda step, peer: peer.send(http(200, raw=b"<html>Please log in to the hotel's network</html>")),
    "wrong types": _wrong_types,
    "huge body": lambda step, peer: peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 10000000\r\n\r\nx"),
    "endless body": lambda step, peer: _endless_body(peer),
    "dripping body": lambda step, peer: _drip(peer, b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 100),
    "bad accept": lambda step, peer: peer.accept(key="AAAAAAAAAAAAAAAAAAAAAA=="),
    "extension": lambda step, peer: peer.accept(more=(("sec-websocket-extensions", "permessage-deflate"),)),
    "subprotocol": lambda step, peer: peer.accept(more=(("sec-websocket-protocol", "mqtt"),)),
    "unasked 101": lambda step, peer: peer.send(
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n"
    ),
    "valid:false": lambda step, peer: peer.send(http(200, {"valid": False})),
    "token expired on receipt": _expired_on_receipt,
    # the answer comes when the life of the token that was sent is over
    "token expires between": lambda step, peer: peer.bench.at(10.0, lambda: peer.send(http(401))),
}

# --- on a link --------------------------------------------------------------------------------------------------------


def _fall_silent(peer: Peer) -> None:
    peer.send(frame(0x9, b"last words"))
    peer.is_mute = True


def _half_a_frame(peer: Peer) -> None:
    peer.send(frame(0x1, b"x" * 100)[:50])
    peer.eof()


def _reset_after_expiry(peer: Peer) -> None:
    peer.bench.at(11.0, peer.reset)


_on_a_link: dict[str, Callable[[Peer], None]] = {
    "timeout": lambda peer: peer.reset("timed out"),
    "reset": lambda peer: peer.reset(),
    "eof": lambda peer: peer.eof(),
    "half-open": _fall_silent,
    "cut short": _half_a_frame,
    "unasked bytes": lambda peer: peer.send(http(503)),
    "not JSON": lambda peer: peer.send(frame(0x1, b"<html>")),
    "wrong types": lambda peer: peer.send(frame(0x1, b'{"type":"command","id":5,"data":[]}')),
    "huge body": lambda peer: peer.send(b"\x81\x7f" + (10_000_000).to_bytes(8)),
    "endless body": lambda peer: _pour_fragments(peer),
    "dripping body": lambda peer: _drip(peer, frame(0x1, b'{"type":"message","id":"m","data":{}}' + b" " * 30)),
    "token expires between": _reset_after_expiry,
    "token expired on receipt": lambda peer: peer.reset(),
}


def _pour_fragments(peer: Peer) -> None:
    peer.send(frame(0x1, b"", final=False))
    _pour(peer, frame(0x0, b"x" * 65_536, final=False), most=17)
