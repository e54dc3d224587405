"""What an `Agent` can be told, by keyword and by environment variable, and how it is checked.

The parameters that are `AgentConfig`'s are checked there; the others are about this machine and never reach the core.
"""

from __future__ import annotations

import os
import ssl
from typing import TYPE_CHECKING, Final, TypedDict, TypeVar, cast

import msgspec

from artcafe_proto import AgentConfig, ConfigError, SignatureFormat
from artcafe_proto.config import Endpoint, check_id

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from artcafe_proto.exchanges import Headers

Struct = TypeVar("Struct", bound=msgspec.Struct)

LOG_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


class AgentParameters(TypedDict, total=False):
    """Keyword parameters of `Agent`. All have defaults but `agent_id` and `tenant_id`."""

    # the guide's
    api_endpoint: str
    """Base URL of the platform; `https://api.artcafe.ai`."""
    agent_id: str
    tenant_id: str
    private_key_path: str | os.PathLike[str]
    """The agent's private key; `~/.ssh/artcafe_agent`. Only its owner may have access to it (AUTH-5)."""
    log_level: str
    """What `run` sets the logger `artcafe` to, if anything: DEBUG, INFO, WARNING, ERROR or CRITICAL; `INFO`."""
    heartbeat_interval: float
    """Seconds; 30 (HB-1)."""

    # the key and the connection
    key_id: str | None
    """Sent with the signature where given (AUTH-3)."""
    signature_format: SignatureFormat
    """`ssh`, or `raw` for platforms that verify bare signatures (AUTH-3)."""
    ca_file: str | os.PathLike[str] | None
    """PEM file of the authorities to trust instead of the system's."""
    ssl_context: ssl.SSLContext | None
    """Used as it is, instead of the context made by default; it must verify the platform."""

    # everything else of `AgentConfig`, where it is explained
    ws_endpoint: str | None
    allow_cleartext: bool
    extra_headers: Headers
    user_agent: str
    ping_interval: float
    ping_timeout: float
    close_timeout: float
    write_stall_timeout: float
    max_message_size: int
    max_bad_messages: int
    stable_after: float
    jitter: float
    fixed_wait_growth: float
    connect_timeout: float
    exchange_timeout: float
    upgrade_timeout: float
    give_up_after: float | None
    sign_timeout: float
    call_timeout: float
    max_concurrent: int
    max_queued: int
    drain_timeout: float


class MachineSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The parameters that are not `AgentConfig`'s."""

    private_key_path: str = "~/.ssh/artcafe_agent"
    log_level: str = "INFO"
    signature_format: SignatureFormat = "ssh"
    ca_file: str | None = None
    ssl_context: ssl.SSLContext | None = None

    def __post_init__(self) -> None:
        if self.log_level.upper() not in LOG_LEVELS:
            raise ConfigError(f"log_level must be one of {', '.join(LOG_LEVELS)}, not {self.log_level!r}")
        if self.ca_file is not None and self.ssl_context is not None:
            raise ConfigError("ca_file has no effect on an ssl_context of your own: load it there")


REQUIRED: Final = ("agent_id", "tenant_id")


def check_parameters(parameters: AgentParameters) -> None:
    """Raise ConfigError for a bad value and TypeError for an unknown name; what is required may still be missing."""
    known = {*AgentConfig.__struct_fields__, *MachineSettings.__struct_fields__}
    for name in parameters:
        if name not in known:
            raise TypeError(f"Agent has no parameter {name!r}; it has {', '.join(sorted(known))}")
    settings(AgentParameters(agent_id="-", tenant_id="-") | parameters)


def settings(parameters: AgentParameters) -> tuple[AgentConfig, MachineSettings]:
    """The parameters in their two parts. Raises ConfigError for a bad or missing one."""
    for name in REQUIRED:
        if name not in parameters:
            raise ConfigError(f"{name} is missing: set {variable(name)}, or give {name}")
    return _struct(AgentConfig, parameters), _struct(MachineSettings, parameters)


def read_environment(environ: Mapping[str, str] = os.environ) -> AgentParameters:
    """The parameters that environment variables set, empty ones not counted. Raises ConfigError naming a bad one."""
    found: dict[str, object] = {}
    for name, read in _READERS.items():
        value = environ.get(variable(name))
        if value:
            found[name] = read(variable(name), value)
    return cast("AgentParameters", found)


def variable(name: str) -> str:
    """The environment variable of a parameter."""
    return f"ARTCAFE_{name.upper()}"


def _struct(kind: type[Struct], parameters: AgentParameters) -> Struct:
    """`kind` made of those parameters that are its own, their types checked."""
    fields = {name: value for name, value in parameters.items() if name in kind.__struct_fields__}
    for name, value in fields.items():
        if isinstance(value, os.PathLike):
            fields[name] = os.fspath(cast("os.PathLike[str]", value))
    try:
        return msgspec.convert(fields, kind)
    except msgspec.ValidationError as error:
        what, _, name = str(error).partition(" - at `$.")
        raise ConfigError(f"{name.rstrip('`')}: {what[:1].lower()}{what[1:]}") from None


def _read_endpoint(name: str, value: str) -> str:
    Endpoint.parse(name, value)
    return value


def _read_id(name: str, value: str) -> str:
    check_id(name, value)
    return value


def _read_seconds(name: str, value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < float("inf"):
        raise ConfigError(f"{name} must be a number of seconds above 0, not {value!r}")
    return seconds


def _read_log_level(name: str, value: str) -> str:
    if value.upper() not in LOG_LEVELS:
        raise ConfigError(f"{name} must be one of {', '.join(LOG_LEVELS)}, not {value!r}")
    return value


def _read_path(_: str, value: str) -> str:
    return value


_READERS: Final[dict[str, Callable[[str, str], object]]] = {
    "api_endpoint": _read_endpoint,
    "agent_id": _read_id,
    "tenant_id": _read_id,
    "private_key_path": _read_path,
    "key_id": _read_id,
    "log_level": _read_log_level,
    "heartbeat_interval": _read_seconds,
}
