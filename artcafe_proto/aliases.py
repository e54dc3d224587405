"""What existing agents call or leave out otherwise than the guide does, read in its place (MSG-1)."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from artcafe_proto.messages import AgentStatus, HeartbeatData, ResponseData, decode_data

_ABSENT: Final = msgspec.Raw(b"")
_NOTHING: Final = (b"", b"null")
"""What an agent sends in a field for which it has no value: for example, if it takes no measurements."""


class _Heartbeat(msgspec.Struct, frozen=True, gc=False):
    """`cpu_percent` and `memory_mb` are what agents send in the place of the two fields before."""

    agent_id: str
    status: AgentStatus | None = None
    cpu_usage: float | None = None
    memory_usage: float | None = None
    cpu_percent: msgspec.Raw = _ABSENT
    memory_mb: msgspec.Raw = _ABSENT


class _Response(msgspec.Struct, frozen=True, gc=False):
    """`error` is what agents send in the place of a failure's `reason`."""

    command_id: str
    status: Literal["success", "error"]
    result: msgspec.Raw = msgspec.Raw(b"null")
    reason: str | None = None
    code: str | None = None
    error: msgspec.Raw = _ABSENT


def decode_heartbeat(data: msgspec.Raw) -> HeartbeatData:
    """The data of a `heartbeat`, where need be with `cpu_percent` and `memory_mb` as the guide's fields. Raises
    RemoteProtocolError with the reason (MSG-5).
    """
    heartbeat = decode_data(data, _heartbeat_decoder)
    cpu_usage, memory_usage = heartbeat.cpu_usage, heartbeat.memory_usage
    if cpu_usage is None:
        cpu_usage = _number(heartbeat.cpu_percent)
    if memory_usage is None:
        memory_usage = _number(heartbeat.memory_mb)
    return HeartbeatData(heartbeat.agent_id, heartbeat.status or "online", cpu_usage, memory_usage)


def decode_response(data: msgspec.Raw) -> ResponseData:
    """The data of a `response`; a failure without `reason` may give its text as `error`. Raises RemoteProtocolError
    with the reason (MSG-5).
    """
    response = decode_data(data, _response_decoder)
    reason = response.reason
    if reason is None:
        reason = _text(response.error) if response.status == "error" else ""
    return ResponseData(response.command_id, response.status, response.result, reason, response.code or "")


def _number(raw: msgspec.Raw) -> float:
    return 0.0 if bytes(raw) in _NOTHING else decode_data(raw, _number_decoder)


def _text(raw: msgspec.Raw) -> str:
    if bytes(raw) in _NOTHING:
        return ""
    try:
        return _text_decoder.decode(raw)
    except (msgspec.MsgspecError, ValueError):  # an object, say: its JSON is better than nothing
        return bytes(raw).decode(errors="replace")


_heartbeat_decoder = msgspec.json.Decoder(_Heartbeat)
_number_decoder = msgspec.json.Decoder(float)
_response_decoder = msgspec.json.Decoder(_Response)
_text_decoder = msgspec.json.Decoder(str)
