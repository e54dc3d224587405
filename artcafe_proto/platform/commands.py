"""A command as tenants see it (PLAT-4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from artcafe_proto.config import check_id
from artcafe_proto.errors import ApiError, LocalProtocolError, RemoteProtocolError
from artcafe_proto.instants import format_timestamp
from artcafe_proto.limits import MAX_COMMAND_NAME_CHARS
from artcafe_proto.messages import CommandData, check_command, encode_json, encode_object
from artcafe_proto.misuse import plain_seconds
from artcafe_proto.platform.states import OVER

if TYPE_CHECKING:
    from artcafe_proto.messages import ResponseData
    from artcafe_proto.platform.records import CommandRecord
    from artcafe_proto.platform.states import CommandState

__all__ = ["Command"]

_ENVELOPE_BYTES: Final = 4096  # more than an envelope around arguments or data ever takes


class Command(msgspec.Struct, frozen=True):
    """One command of a tenant for an agent, as it is at a moment. Times are wall-clock times, in seconds."""

    tenant_id: str
    agent_id: str
    command_id: str
    data: CommandData
    accepted_at: float
    expires_at: float
    state: CommandState
    attempts: int
    """How often it went out."""
    response: ResponseData | None = None
    answered_at: float | None = None
    late: bool = False
    """The response came after it had expired."""

    @property
    def is_over(self) -> bool:
        """Whether its state changes no more."""
        return self.state in OVER

    def public(self) -> dict[str, Any]:
        """The command object of the HTTP interface."""
        response = self.response
        return {
            "command_id": self.command_id,
            "agent_id": self.agent_id,
            "command": self.data.command,
            "state": self.state,
            "attempts": self.attempts,
            "accepted_at": format_timestamp(self.accepted_at),
            "answered_at": None if self.answered_at is None else format_timestamp(self.answered_at),
            "late": self.late,
            "response": None if response is None else public_response(response),
        }


def public_response(response: ResponseData) -> dict[str, Any]:
    """The response object of the HTTP interface."""
    if response.status == "success":
        return {"status": "success", "result": response.result}
    return {"status": "error", "code": response.code, "reason": response.reason}


def command_data(command: object, args: dict[str, Any], timeout_s: float | None, command_id: str | None) -> CommandData:
    """What an agent is sent of a command. Raises ApiError 422 for what it would refuse, and for a bad `command_id`."""
    if not isinstance(command, str) or not 1 <= len(command) <= MAX_COMMAND_NAME_CHARS:
        raise ApiError(422, "invalid_body", f"expected a command of 1 to {MAX_COMMAND_NAME_CHARS} characters")
    try:
        if type(command) is not str or not command.isascii():
            encode_json(command, "command")  # half a surrogate pair could not be sent
        timeout_s = None if timeout_s is None else plain_seconds(timeout_s)
        data = check_command(CommandData(command, encode_object(args, "args"), timeout_s))
        if command_id is not None:
            check_id("command_id", command_id)
    except RemoteProtocolError as error:
        raise ApiError(422, "invalid_body", error.reason) from None
    except LocalProtocolError as error:
        raise ApiError(422, "invalid_body", str(error)) from None
    return data


def check_size(raw: msgspec.Raw, max_message_size: int) -> None:
    """A message that no agent may take would cost every link it is sent on (MSG-6). Raises ApiError 413."""
    if len(bytes(raw)) > max_message_size - _ENVELOPE_BYTES:
        raise ApiError(413, "too_large", f"a message has at most {max_message_size} bytes")


def is_same(one: CommandRecord, other: CommandRecord) -> bool:
    """Whether both ask for the same; the order of names in `args` is no content (RFC 8259 section 4)."""
    return _content(one.data) == _content(other.data)


def _content(data: CommandData) -> tuple[str, float | None, bytes]:
    return data.command, data.timeout, msgspec.json.encode(msgspec.json.decode(data.args), order="deterministic")
