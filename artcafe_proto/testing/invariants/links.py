"""What must hold of an agent's connections: requests, frames, heartbeats, life signs (LINK-7, LINK-9, HB, STAT)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import msgspec

from artcafe_proto.limits import WRITE_AHEAD_BYTES
from artcafe_proto.testing.invariants.table import EPSILON_S
from artcafe_proto.testing.invariants.watched import Watched, WatchedLink
from artcafe_proto.testing.wiretap import CLOSE, PING, PONG, TEXT, Frame, Wiretap, WrittenRequest

if TYPE_CHECKING:
    from artcafe_proto.effects import Write
    from artcafe_proto.testing.invariants.table import Checks

STATUS_INTERVAL_S: Final = 1.0
UNANSWERED_PING_S: Final = 120.0
REPORTED_WITHIN_S: Final = 1.5
"""How long after its transport is no longer full an agent may not know of it."""
GIVEN_BACK: Final = ("overloaded", "draining")
"""Codes of responses that are not final: the command was not started (CMD-9)."""
_ALLOWED: Final = ("/api/v1/auth/", "/api/v1/agents/", "/api/v1/ws/agent/")


class Content(msgspec.Struct):
    """What is looked at of a message's data, whatever its type."""

    command_id: str = ""
    code: str = ""
    status: str = ""
    current_task: str | None = None
    timeout: float | None = None


class Message(msgspec.Struct):
    """A message on a link."""

    type: str
    id: str
    data: Content


read_message: Final = msgspec.json.Decoder(Message).decode


class LinkInvariants:
    """The agent's end of every connection."""

    def __init__(self, checks: Checks) -> None:
        self._check = checks.check

    # --- connections --------------------------------------------------------------------------------------------------

    def connecting(self, watched: Watched, conn: int) -> None:
        """It asks for a connection."""
        watched.taps[conn] = Wiretap()

    def gone(self, watched: Watched, conn: int) -> None:
        """A connection has ended."""
        watched.taps.pop(conn, None)
        watched.links.pop(conn, None)
        watched.linking.discard(conn)

    def online(self, watched: Watched, conn: int) -> None:
        """A link is up."""
        watched.link = watched.links[conn]

    def offline(self, watched: Watched, clause: str) -> None:
        """A link, or an attempt at one, is over."""
        link, watched.link = watched.link, None
        watched.ended_link = link or watched.ended_link
        if clause == "LINK-7":
            assert link is not None, "an attempt has other deadlines"
            mono = watched.process.mono
            timeout_s = watched.process.protocol.config.ping_timeout
            is_silent = mono - max(link.heard_at, link.pinged_at) >= timeout_s - EPSILON_S
            is_unanswered = mono - link.pinged_at >= UNANSWERED_PING_S - EPSILON_S
            holds = bool(link.pinged) and (is_silent or is_unanswered)
            self._check("only silence ends a link as silent", holds, link.heard_at, link.pinged_at)

    # --- what it writes -----------------------------------------------------------------------------------------------

    def writing(self, watched: Watched, write: Write) -> list[Message | WrittenRequest]:
        """It writes; the messages in that, or the request."""
        tap = watched.taps.get(write.conn)
        self._check("nothing goes out on a connection that is over", tap is not None, "connection", write.conn)
        assert tap is not None
        messages: list[Message | WrittenRequest] = []
        for each in tap.read(write.data):
            if isinstance(each, WrittenRequest):
                self._requesting(watched, write.conn, each)
                messages.append(each)
            else:
                self._sending(watched, watched.links[write.conn], each, messages)
        return messages

    def _requesting(self, watched: Watched, conn: int, request: WrittenRequest) -> None:
        if request.token:
            watched.secrets.add(request.token)
            self._check("a rejected token is never sent again", request.token not in watched.rejected, request.target)
        allowed = request.target.startswith(_ALLOWED)
        self._check("nothing but authentication goes out before the link", allowed, request.target)
        if request.is_upgrade:
            watched.linking.add(conn)
        self._check("one link, up or opening", len(watched.linking) <= 1, watched.linking)

    def _sending(
        self, watched: Watched, link: WatchedLink, frame: Frame, messages: list[Message | WrittenRequest]
    ) -> None:
        self._check("nothing follows a close frame", not link.is_closed, "opcode", frame.opcode)
        match frame.opcode:
            case 0x1:
                message = read_message(frame.payload)
                messages.append(message)
                self._saying(watched, link, message)
            case 0x8:
                link.is_closed = True
            case 0x9:
                link.pinged_at, link.pinged = watched.process.mono, frame.payload
            case _:
                is_owed = frame.opcode == PONG and frame.payload in link.owed_pongs
                self._check("a ping is answered with one pong", is_owed, frame.payload, "of", link.owed_pongs)
                link.owed_pongs = after(link.owed_pongs, frame.payload)

    def _saying(self, watched: Watched, link: WatchedLink, message: Message) -> None:
        mono = watched.process.mono
        if link.last_slot < 0:
            self._check("a link begins with a heartbeat", message.type == "heartbeat", message.type)
        if message.type == "heartbeat":
            interval_s = watched.process.protocol.config.heartbeat_interval
            slot = int((mono - link.up_at + EPSILON_S) // interval_s)
            self._check("one heartbeat for each point of the grid", slot > link.last_slot, "slot", slot)
            self._beats_in_time(watched, link)
            link.last_slot, link.beat_at = slot, mono
        elif message.type == "status" and message.data.status != "offline":
            told_at = link.told_at.get(message.data.current_task, -math.inf)
            is_spaced = mono >= told_at + STATUS_INTERVAL_S - EPSILON_S
            self._check("a status of its kind goes out once a second", is_spaced, mono - told_at, "s apart")
            link.told_at[message.data.current_task] = mono

    def _beats_in_time(self, watched: Watched, link: WatchedLink) -> None:
        is_late = watched.is_due(link.beat_at + watched.process.protocol.config.heartbeat_interval)
        self._check("heartbeats are no further apart than their interval", not is_late, "the last at", link.beat_at)

    def asks_to_read(self, watched: Watched, conn: int, *, reads: bool) -> None:
        """It stops reading a connection, or goes on."""
        link, mono = watched.links[conn], watched.process.mono
        if link.paused_at is None or not reads:
            link.paused_at = mono
        else:
            link.heard_at += mono - max(link.heard_at, link.paused_at)
            link.pinged_at += mono - max(link.pinged_at, link.paused_at)
            link.paused_at = None

    # --- what it reads ------------------------------------------------------------------------------------------------

    def hearing(self, watched: Watched, conn: int, data: bytes) -> list[Message]:
        """Bytes came in; the messages that they complete."""
        tap, link = watched.taps[conn], watched.links.get(conn)
        frames = tap.hear(data)
        if link is None and tap.is_upgraded:  # frames may come with the 101
            link = watched.links[conn] = WatchedLink(conn, watched.process.mono)
        if link is None:
            self._look_at_answer(watched, conn, tap)
            return []
        link.heard_at = watched.process.mono
        if not watched.is_ponged:
            link.pinged = b""  # from such a peer, anything that comes is an answer
        messages: list[Message] = []
        for frame in frames:
            if frame.opcode == TEXT and not link.is_closed:
                messages.append(read_message(frame.payload))
            elif frame.opcode == PING:
                link.owed_since = link.owed_since if link.owed_pongs else link.heard_at
                link.owed_pongs.append(frame.payload)
            elif frame.opcode == PONG and frame.payload:
                watched.is_ponged = True
                link.pinged = b"" if frame.payload == link.pinged else link.pinged
            elif frame.opcode == CLOSE:
                link.close_code = int.from_bytes(frame.payload[:2], "big")
        return messages

    def _look_at_answer(self, watched: Watched, conn: int, tap: Wiretap) -> None:
        status, request = tap.answered_status(), tap.last_request
        assert request is not None, "nobody speaks before it is asked"
        if status == 401 or (status == 403 and request.is_upgrade):
            watched.rejected.add(request.token)
        if status is not None:
            watched.linking.discard(conn)

    # --- after everything ---------------------------------------------------------------------------------------------

    def at_rest(self, watched: Watched, link: WatchedLink) -> None:
        """Something happened, and all that follows from it: the link is up."""
        process = watched.process
        config = process.protocol.config
        self._beats_in_time(watched, link)
        if link.owed_pongs:
            self._owes_pong(watched, link)
        if link.paused_at is not None:
            return
        if link.pinged:
            is_late = watched.is_due(link.pinged_at + max(config.ping_timeout, UNANSWERED_PING_S))
            self._check("silence after a ping ends a link", not is_late, "since", link.pinged_at)
        else:
            is_late = watched.is_due(link.heard_at + config.ping_interval)
            self._check("silence is answered with a ping", not is_late, "since", link.heard_at)

    def _owes_pong(self, watched: Watched, link: WatchedLink) -> None:
        """It may, while its transport is full (LINK-8)."""
        if watched.process.circuits[link.conn].up.unsent_bytes >= WRITE_AHEAD_BYTES:
            link.owed_since = watched.process.mono
        is_late = watched.is_due(link.owed_since + REPORTED_WITHIN_S)
        self._check("a ping is answered with one pong", not is_late, "none to", link.owed_pongs)


def after(owed: list[bytes], payload: bytes) -> list[bytes]:
    """The pongs that are still owed once this one has gone out: it stands for those before it."""
    return owed[owed.index(payload) + 1 :] if payload in owed else owed
