"""What existing agents call otherwise than the guide does, read in its place (MSG-1)."""

from __future__ import annotations

from typing import Final

import msgspec

from artcafe_proto.messages import HeartbeatData, ResponseData, decode_data

_ABSENT: Final = msgspec.Raw(b"")
_NOTHING: Final = (b"", b"null")
"""What an agent sends that has no value for a field: a machine without measurements, for one."""


class _OtherHeartbeat(msgspec.Struct, frozen=True, gc=False):
    """Which fields there are of the guide's, and which that agents send in their place."""

    cpu_usage: msgspec.Raw = _ABSENT
    memory_usage: msgspec.Raw = _ABSENT
    cpu_percent: msgspec.Raw = _ABSENT
    memory_mb: msgspec.Raw = _ABSENT


class _OtherResponse(msgspec.Struct, frozen=True, gc=False):
    """The same of a failed command's text."""

    reason: msgspec.Raw = _ABSENT
    error: msgspec.Raw = _ABSENT


def decode_heartbeat(data: msgspec.Raw) -> HeartbeatData:
    """The data of a `heartbeat`, where need be with `cpu_percent` and `memory_mb` as the guide's fields. Raises
    RemoteProtocolError with the reason (MSG-5).
    """
    heartbeat = decode_data(data, _heartbeat_decoder)
    other = decode_data(data, _other_heartbeat_decoder)
    cpu_usage, memory_usage = heartbeat.cpu_usage, heartbeat.memory_usage
    if not bytes(other.cpu_usage) and bytes(other.cpu_percent) not in _NOTHING:
        cpu_usage = decode_data(other.cpu_percent, _number_decoder)
    if not bytes(other.memory_usage) and bytes(other.memory_mb) not in _NOTHING:
        memory_usage = decode_data(other.memory_mb, _number_decoder)
    return HeartbeatData(heartbeat.agent_id, heartbeat.status, cpu_usage, memory_usage)


def decode_response(data: msgspec.Raw) -> ResponseData:
    """The data of a `response`; a failure without `reason` may give its text as `error`. Raises RemoteProtocolError
    with the reason (MSG-5).
    """
    response = decode_data(data, _response_decoder)
    if response.status == "success" or response.reason:
        return response
    other = decode_data(data, _other_response_decoder)
    if bytes(other.reason) or bytes(other.error) in _NOTHING:
        return response
    try:
        reason = _text_decoder.decode(other.error)
    except (msgspec.MsgspecError, ValueError):  # an object, say: its JSON is better than nothing
        reason = bytes(other.error).decode(errors="replace")
    return ResponseData(response.command_id, response.status, response.result, reason, response.code)


_heartbeat_decoder = msgspec.json.Decoder(HeartbeatData)
_other_heartbeat_decoder = msgspec.json.Decoder(_OtherHeartbeat)
_number_decoder = msgspec.json.Decoder(float)
_response_decoder = msgspec.json.Decoder(ResponseData)
_other_response_decoder = msgspec.json.Decoder(_OtherResponse)
_text_decoder = msgspec.json.Decoder(str)
