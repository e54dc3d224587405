"""What an `Agent` can be told, by keyword and by environment variable, and how it is checked.

The parameters that are `AgentConfig`'s are checked there; the others are about this computer and never reach the core.
"""

from __future__ import annotations

import os
import re
import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypedDict, TypeVar, cast, get_args

import msgspec

from artcafe_anyio.calling import is_async
from artcafe_anyio.clocks import Clock, read_clocks
from artcafe_anyio.keys import Passphrase
from artcafe_proto import AgentConfig, ConfigError, SignatureFormat
from artcafe_proto.secrecy import forgetful

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from artcafe_proto.exchanges import Headers

__all__ = ["AgentParameters"]

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
    """The agent's private key; `~/.ssh/artcafe_agent`. Only its owner may have access to it (AUTH-5). For a public key,
    a file `.pub`, the ssh-agent at SSH_AUTH_SOCK signs, which holds the other half (AUTH-6)."""
    log_level: str
    """What `run` sets the logger `artcafe` to, if anything: DEBUG, INFO, WARNING, ERROR or CRITICAL; `INFO`."""
    heartbeat_interval: float
    """Seconds; 30 (HB-1)."""

    # what outlives the process
    journal_path: str | os.PathLike[str] | None
    """File on a local disk, for this agent alone, in which accepted commands, responses and messages outlive the
    process (CMD-1); made if it is missing. Without it they are kept in memory."""

    # the key and the connection
    key_passphrase_file: str | os.PathLike[str] | None
    """File whose first line is the passphrase of an encrypted key; only its owner may have access to it (AUTH-5)."""
    passphrase: Passphrase | None
    """Called with the key's path for the passphrase of an encrypted key, in a thread, at the start and when the file
    has changed."""
    key_id: str | None
    """Sent with the signature where given (AUTH-3)."""
    next_private_key_path: str | os.PathLike[str] | None
    """A second key: used once the platform refuses the first, and the other way round, so that keys can be changed
    without a gap (AUTH-6)."""
    next_key_id: str | None
    """The second key's `key_id`."""
    signature_format: SignatureFormat
    """`ssh`; `raw` for platforms that verify bare signatures, `sshsig` for those with `ssh-keygen -Y` (AUTH-3)."""
    ca_file: str | os.PathLike[str] | None
    """PEM file of the authorities to trust instead of the system's, which SSL_CERT_FILE and SSL_CERT_DIR can name."""
    client_cert_file: str | os.PathLike[str] | None
    """PEM file of the agent's own certificate, and those between it and its authority, for platforms that ask for one
    in TLS."""
    client_key_file: str | os.PathLike[str] | None
    """PEM file of its key, if that is not in `client_cert_file`; only its owner may have access to it. An encrypted one
    has its passphrase from where the agent's key has it."""
    ssl_context: ssl.SSLContext | None
    """Used as it is, instead of the context made by default; it must verify the platform and its name."""
    clock: Clock
    """Gives the moment, an `Instant`; the computer's clocks. It is called from any thread, and its `mono` advances with
    the time of the event loop, by which the agent waits. For tests (`artcafe_anyio.testing.LoopClock`)."""
    anyio_streams: bool
    """Use anyio's streams and tasks, as on trio, also on asyncio, where the loop's own are faster; False."""

    # everything else of `AgentConfig`, where it is explained
    ws_endpoint: str | None
    allow_cleartext: bool
    extra_headers: Headers | Mapping[str, str]
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


class LocalSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The parameters that are not `AgentConfig`'s."""

    private_key_path: str = "~/.ssh/artcafe_agent"
    log_level: str = "INFO"
    journal_path: str | None = None
    next_private_key_path: str | None = None
    key_passphrase_file: str | None = None
    passphrase: Passphrase | None = None
    signature_format: SignatureFormat = "ssh"
    ca_file: str | None = None
    client_cert_file: str | None = None
    client_key_file: str | None = None
    ssl_context: ssl.SSLContext | None = None
    clock: Clock = read_clocks
    anyio_streams: bool = False

    def __post_init__(self) -> None:
        for name in PATHS:
            _check_path(name, getattr(self, name))
        if self.journal_path is not None:
            self._check_journal(self.journal_path)
        if self.log_level.upper() not in LOG_LEVELS:
            levels = ", ".join(LOG_LEVELS)
            raise ConfigError(f"must be one of {levels}, not {self.log_level!r}", setting="log_level")
        if self.ssl_context is not None:
            self._check_context(self.ssl_context)
        if self.passphrase is not None and self.key_passphrase_file is not None:
            raise ConfigError(
                "has no effect beside a passphrase callback: give one of them", setting="key_passphrase_file"
            )
        if self.passphrase is not None and is_async(self.passphrase):
            raise ConfigError("must be a plain function, which is called in a thread", setting="passphrase")
        if self.client_key_file is not None and self.client_cert_file is None:
            raise ConfigError("has no effect without client_cert_file, its certificate", setting="client_key_file")

    def _check_journal(self, path: str) -> None:
        """What is no journal would be renamed, as a damaged one is."""
        for name in PATHS:
            other = getattr(self, name)
            if name != "journal_path" and other is not None and _is_same_file(other, path):
                raise ConfigError(f"is the {name}: give the journal a file of its own", setting="journal_path")

    def _check_context(self, context: ssl.SSLContext) -> None:
        if context.verify_mode is ssl.CERT_NONE:
            raise ConfigError("must verify the platform, and verifies nobody", setting="ssl_context")
        if not context.check_hostname:
            raise ConfigError("must verify the platform's name: set its check_hostname", setting="ssl_context")
        for name in ("ca_file", "client_cert_file"):
            if getattr(self, name) is not None:
                raise ConfigError("has no effect on an ssl_context of your own: load it there", setting=name)


PATHS: Final = (
    "journal_path",
    "private_key_path",
    "next_private_key_path",
    "key_passphrase_file",
    "ca_file",
    "client_cert_file",
    "client_key_file",
)


def _is_same_file(*paths: str) -> bool:
    """Whether both lead to one place, or by links to one file."""
    path, other = (os.path.realpath(os.path.expanduser(path)) for path in paths)
    try:
        return path == other or os.path.samefile(path, other)
    except OSError:
        return False


def _check_path(name: str, path: str | None) -> None:
    """Raise ConfigError for what is no path, but nothing, or what the file should hold, and is not shown."""
    if path is None:
        return
    if not path.strip():
        raise ConfigError("is empty: expected a path", setting=name)
    if path.rstrip("\r\n") != path and path.rstrip("\r\n").isprintable():
        raise ConfigError("ends with a line break: remove it", setting=name)
    if "PRIVATE KEY" in path or "-----BEGIN" in path or not path.isprintable():
        raise ConfigError("must be the path of a file, not what the file holds", setting=name)


REQUIRED: Final = ("agent_id", "tenant_id")
VARIABLES: Final = (
    "api_endpoint",
    "agent_id",
    "tenant_id",
    "private_key_path",
    "key_passphrase_file",
    "key_id",
    "ca_file",
    "client_cert_file",
    "client_key_file",
    "log_level",
    "heartbeat_interval",
    "journal_path",
)
"""Parameters that an environment variable can set: the guide's, and what a computer has to say of its files."""
DERIVED: Final = frozenset({"next_key", "idempotent"})
"""What `AgentConfig` is told that is no parameter: it follows from these and from the handlers."""


def check_parameters(parameters: AgentParameters) -> None:
    """Raise ConfigError for a bad value and TypeError for an unknown name; what is required may still be missing."""
    known = {*AgentConfig.__struct_fields__, *LocalSettings.__struct_fields__} - DERIVED
    for name in parameters:
        if name not in known:
            raise TypeError(f"Agent has no parameter {name!r}; it has {', '.join(sorted(known))}")
    settings(AgentParameters(agent_id="-", tenant_id="-") | parameters)


@forgetful
def settings(parameters: AgentParameters) -> tuple[AgentConfig, LocalSettings]:
    """The parameters in their two parts. Raises ConfigError for a bad or missing one."""
    for name in REQUIRED:
        if name not in parameters:
            given = f"give it to Agent, or as {flag(name)}, or set {variable(name)}"
            raise ConfigError(f"is missing: {given}", setting=name)
    local = _struct(LocalSettings, parameters)
    known = parameters | {"next_key": local.next_private_key_path is not None}
    return _struct(AgentConfig, cast("AgentParameters", known)), local


@forgetful
def read_environment(environ: Mapping[str, str] = os.environ) -> AgentParameters:
    """The parameters that environment variables set, empty ones not counted. Raises ConfigError for what is no number;
    everything else is judged with the parameters from elsewhere.
    """
    found: dict[str, object] = {name: environ[variable(name)] for name in VARIABLES if environ.get(variable(name))}
    interval = found.get("heartbeat_interval")
    if isinstance(interval, str):
        try:
            found["heartbeat_interval"] = float(interval)
        except ValueError:
            name = variable("heartbeat_interval")
            raise ConfigError(f"must be a number of seconds, not {interval!r}", setting=name) from None
    return cast("AgentParameters", found)


@contextmanager
def spelled(names: Mapping[str, str]) -> Generator[None]:
    """What goes wrong in the block is told with the settings named as here: as a flag or a variable."""
    try:
        yield
    except ConfigError as error:
        if error.setting not in names:
            raise
        raise ConfigError(error.problem, setting=names[error.setting]) from None


def variable(name: str) -> str:
    """The environment variable of a parameter."""
    return f"ARTCAFE_{_SHORT.get(name, name).upper()}"


def flag(name: str) -> str:
    """The flag of `artcafe agent` for a parameter."""
    return f"--{_SHORT.get(name, name).replace('_', '-')}"


_SHORT: Final = {"journal_path": "journal"}


def _struct(kind: type[Struct], parameters: AgentParameters) -> Struct:
    """`kind` made of those parameters that are its own, their types checked."""
    fields = {name: value for name, value in parameters.items() if name in kind.__struct_fields__}
    for name, value in fields.items():
        if isinstance(value, os.PathLike):
            fields[name] = os.fspath(cast("os.PathLike[str]", value))
    try:
        return msgspec.convert(fields, kind)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at ")
        name = re.split(r"[`\[]", where.partition("$.")[2])[0]
        if name == "signature_format":
            what = f"expected one of {', '.join(get_args(SignatureFormat))}"
        raise ConfigError(f"does not fit: {what[:1].lower()}{what[1:]}", setting=name) from None
