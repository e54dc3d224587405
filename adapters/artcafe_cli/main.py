"""The `artcafe` command. Each subcommand's work is in a module of its own, imported when it is asked for."""

from __future__ import annotations

import errno
import math
import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn
from uuid import uuid4

import msgspec
from cyclopts import App, CycloptsError, Parameter, Token
from cyclopts.exceptions import UnusedCliTokensError

from artcafe_anyio.parameters import spelled
from artcafe_cli.key_files import KeyType, make_key_pair, read_public_key_line
from artcafe_cli.telling import complain, discard, say, say_json
from artcafe_cli.tenant_client import TENANT_TOKEN, Operator
from artcafe_proto import ArtCafeError, ConfigError, LocalProtocolError
from artcafe_proto.config import check_agent_id
from artcafe_proto.readable import text_of

if TYPE_CHECKING:
    from collections.abc import Sequence


def _path(_: object, tokens: Sequence[Token]) -> Path:
    """A path with `~` as the home directory, which a shell leaves alone behind `=`. Raises ConfigError for an empty
    one: it comes of a variable that is not set, and would be the working directory.
    """
    token = tokens[0]
    if not token.value.strip():
        raise ConfigError("is empty: expected a path", setting=token.keyword or "PATH")
    return Path(token.value).expanduser()


FilePath = Annotated[Path, Parameter(converter=_path)]
PlatformUrl = Annotated[
    str, Parameter(name="--platform", env_var="ARTCAFE_PLATFORM", help="Base URL of the platform's HTTP interface.")
]
CaFile = Annotated[
    Path | None,
    Parameter(
        converter=_path,
        name="--ca-file",
        env_var="ARTCAFE_CA_FILE",
        help="PEM file of the authorities to trust instead of the system's, for a platform at https://.",
    ),
]
DEFAULT_PLATFORM = "http://127.0.0.1:8420"

app: Final = App(
    name="artcafe",
    help="Agents for the ArtCafe.ai Agent API: try it, run a platform, register, run and command agents.",
    version=lambda: version("artcafe-proto"),
)


@app.command
def demo(*, agents: int = 2, seconds: float = 6.0, json: Annotated[bool, Parameter(negative="")] = False) -> int:
    """Run a platform and agents in one process, cut a connection under load, and show what happens.

    Parameters
    ----------
    agents
        How many agents.
    seconds
        For how many seconds commands are sent.
    json
        Print the account on standard error and, at the end, one line of JSON on standard output.
    """
    from artcafe_cli.demo import run_demo

    if not 1 <= agents <= 100 or not 1 <= seconds <= 3600:
        raise ConfigError("--agents must be 1 to 100 and --seconds 1 to 3600")
    return run_demo(agents=agents, seconds=seconds, json=json)


@app.command
def platform(
    *,
    host: str = "127.0.0.1",
    port: int = 8420,
    data: FilePath | None = None,
    cert_file: FilePath | None = None,
    key_file: FilePath | None = None,
    compat: Annotated[bool, Parameter(negative="")] = False,
    auth_rate_by_address: float | None = None,
    auth_burst_by_address: int | None = None,
    auth_rate_by_agent: float | None = None,
    auth_burst_by_agent: int | None = None,
) -> int:
    """Serve a platform until interrupted; prints one line of JSON when it is ready.

    The tenant's token is taken from ARTCAFE_TENANT_TOKEN. Without that it is made, and kept in the data directory or,
    without one, shown once on standard error if that is a terminal. Without a data directory agents, their keys and
    commands are kept only in memory: they are gone when the process ends.

    Parameters
    ----------
    host
        Address to listen on; without TLS only 127.0.0.1, ::1 or localhost, which no other computer reaches.
    port
        Port to listen on, 0 for a free one.
    data
        Directory on a local disk, for one platform at a time: agents, keys, commands and responses in the file
        records.db, the tenant's token in the file tenant-token, and the key that signs agents' tokens. What was
        promised is synced to disk first. Backup while it runs: umask 077; sqlite3 DIR/records.db "VACUUM INTO
        'copy.db'"; restore: end the platform, remove DIR/records.db and the files records.db-wal and records.db-shm,
        put the copy in its place.
    cert_file
        PEM file of the certificate, and of those that lead to its authority. With it the platform speaks TLS.
    key_file
        PEM file of its key, if that is not in the same file.
    compat
        Serve existing agents too, which sign in at /api/v1/auth/agent/ and call their own id a key_id.
    auth_rate_by_address
        Attempts to sign in that an address may make a second (500); behind a proxy all agents have its address.
    auth_burst_by_address
        How many of them at once (20000).
    auth_rate_by_agent
        The same of an address in one agent's name (1).
    auth_burst_by_agent
        How many of them at once (100).
    """
    from artcafe_cli.serve import serve_platform

    flags = {
        "compat": compat or None,
        "auth_rate_by_address": auth_rate_by_address,
        "auth_burst_by_address": auth_burst_by_address,
        "auth_rate_by_agent": auth_rate_by_agent,
        "auth_burst_by_agent": auth_burst_by_agent,
    }
    return serve_platform(
        host,
        port,
        data,
        os.environ.get(TENANT_TOKEN),
        cert_file=cert_file,
        key_file=key_file,
        settings={name: value for name, value in flags.items() if value is not None},
    )


@app.command
def keygen(path: FilePath, *, kind: Annotated[KeyType, Parameter(name="--type")] = "ed25519") -> None:
    """Make a key pair for an agent: PATH (readable by its owner only) and PATH.pub.

    Parameters
    ----------
    path
        Where to write the private key. An existing file is never overwritten.
    kind
        Kind of key.
    """
    public = make_key_pair(path, kind, "artcafe-agent")
    say(f"{public.fingerprint} {path}.pub")


@app.command
def register(
    *, agent_id: str, public_key: FilePath, platform: PlatformUrl = DEFAULT_PLATFORM, ca_file: CaFile = None
) -> None:
    """Register an agent and its public key with a platform; prints the agent_id and the key_id as JSON.

    The tenant's token is taken from ARTCAFE_TENANT_TOKEN. It is the one that the platform was given, or the one that it
    made and keeps in the file tenant-token of its data directory.

    Parameters
    ----------
    agent_id
        The agent's id.
    public_key
        The agent's public key file (PATH.pub of keygen or ssh-keygen).
    """
    with spelled({"agent_id": "--agent-id"}):
        check_agent_id(agent_id)
    line = read_public_key_line(public_key)
    say_json(_operator(platform, ca_file).register(agent_id, line))


@app.command
def agents(*, wait_for: str | None = None, platform: PlatformUrl = DEFAULT_PLATFORM, ca_file: CaFile = None) -> None:
    """List the tenant's agents: a table on a terminal, else one line of JSON for each agent.

    The tenant's token is taken from ARTCAFE_TENANT_TOKEN. It is the one that the platform was given, or the one that it
    made and keeps in the file tenant-token of its data directory.

    Parameters
    ----------
    wait_for
        Id of an agent to wait for, for 30 s at most, until it is not offline.
    """
    operator = _operator(platform, ca_file)
    if wait_for is not None:
        with spelled({"agent_id": "--wait-for"}):
            check_agent_id(wait_for)
        operator.wait_for(wait_for)
    listed = operator.agents()
    if sys.stdout.isatty():
        from artcafe_cli.tables import print_agents

        print_agents(listed)
    else:
        for each in listed:
            say_json(each)


@app.command
def send(
    agent: str,
    command: str,
    *,
    args: str = "{}",
    timeout: float | None = None,
    command_id: str | None = None,
    platform: PlatformUrl = DEFAULT_PLATFORM,
    ca_file: CaFile = None,
) -> int:
    """Send a command to an agent, wait for its response and print it as JSON; exit status 1 on an error response.

    If the platform goes away meanwhile it is asked again, for 2 minutes: the command runs once all the same.

    The tenant's token is taken from ARTCAFE_TENANT_TOKEN. It is the one that the platform was given, or the one that it
    made and keeps in the file tenant-token of its data directory.

    Parameters
    ----------
    agent
        The agent's id.
    command
        Name of the command.
    args
        Its arguments, a JSON object.
    timeout
        Seconds the agent may take (300 if not given).
    command_id
        Id of the command, by which the same again is known: to wait for one that was sent before.
    """
    with spelled({"agent_id": "AGENT"}):
        check_agent_id(agent)
    if timeout is not None and not 0 < timeout < math.inf:
        raise ConfigError(f"--timeout must be a finite number of seconds above 0, not {timeout}")
    try:
        arguments = msgspec.json.decode(args, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise ConfigError(f"--args must be a JSON object: {error}") from None
    operator = _operator(platform, ca_file)
    if command_id is None:
        command_id = f"cmd-{uuid4().hex}"
    sent = operator.run(agent, command, arguments, timeout, command_id, complain)
    say_json(sent.response or {"status": "error", "code": "expired", "reason": "no response came in time"})
    return 0 if sent.state == "succeeded" else 1


@app.command
def agent(
    target: str,
    *,
    api_endpoint: str | None = None,
    agent_id: str | None = None,
    tenant_id: str | None = None,
    private_key_path: FilePath | None = None,
    key_id: str | None = None,
    ca_file: FilePath | None = None,
    client_cert_file: FilePath | None = None,
    client_key_file: FilePath | None = None,
    log_level: str | None = None,
    heartbeat_interval: float | None = None,
    give_up_after: float | None = None,
    journal: FilePath | None = None,
) -> None:
    """Run an agent written in Python until interrupted; a first SIGINT or SIGTERM drains, a second stops at once.

    SIGHUP drains an agent that has a terminal; without one, changed keys and certificates are read again. The agent
    logs on standard error what it does and why, one line each. Exit status 1 if it gives up.

    What is not given as a flag is taken from ARTCAFE_API_ENDPOINT, ARTCAFE_AGENT_ID, ARTCAFE_TENANT_ID,
    ARTCAFE_PRIVATE_KEY_PATH, ARTCAFE_KEY_ID, ARTCAFE_CA_FILE, ARTCAFE_CLIENT_CERT_FILE, ARTCAFE_CLIENT_KEY_FILE,
    ARTCAFE_LOG_LEVEL, ARTCAFE_HEARTBEAT_INTERVAL and ARTCAFE_JOURNAL, and then from the program itself. The passphrase
    of an encrypted key is the first line of the file ARTCAFE_KEY_PASSPHRASE_FILE; it is asked for on a terminal.

    Parameters
    ----------
    target
        MODULE:ATTRIBUTE, where the attribute is an artcafe_anyio.Agent.
    api_endpoint
        Base URL of the platform.
    agent_id
        The agent's id.
    tenant_id
        The tenant's id.
    private_key_path
        The agent's private key file.
    key_id
        Id of the key, as registered.
    ca_file
        PEM file of the authorities to trust instead of the system's.
    client_cert_file
        PEM file of the agent's own certificate, for a platform that asks for one in TLS.
    client_key_file
        PEM file of its key, if that is not in the same file.
    log_level
        DEBUG, INFO, WARNING or ERROR.
    heartbeat_interval
        Seconds between heartbeats.
    give_up_after
        Seconds without a link after which it gives up; never, if not given.
    journal
        File on a local disk, for this agent alone, by which work is done once even if the process is killed.
    """
    flags = {
        "api_endpoint": api_endpoint,
        "agent_id": agent_id,
        "tenant_id": tenant_id,
        "private_key_path": private_key_path,
        "key_id": key_id,
        "ca_file": ca_file,
        "client_cert_file": client_cert_file,
        "client_key_file": client_key_file,
        "log_level": log_level,
        "heartbeat_interval": heartbeat_interval,
        "give_up_after": give_up_after,
        "journal_path": journal,
    }
    _run_agent(target, flags)


def _run_agent(target: str, flags: dict[str, Any]) -> None:
    from artcafe_cli.serve import run_agent

    run_agent(target, {name: value for name, value in flags.items() if value is not None})


def main() -> NoReturn:
    """Run the command line: exit status 2 for wrong usage or settings, 1 for a failure, with one line on stderr."""
    for name in [name for name, value in os.environ.items() if name.startswith("ARTCAFE_") and not value]:
        del os.environ[name]  # an empty variable is one that is not set, as it is to an `Agent`
    try:
        try:
            app(sys.argv[1:], exit_on_error=False, print_error=False)
        finally:
            sys.stdout.flush()
    except UnusedCliTokensError as error:
        unused = " ".join(error.unused_tokens or ())
        hint = "; give JSON as one argument, in single quotes, after --args" if "{" in unused or "}" in unused else ""
        command = " ".join(("artcafe", *(error.command_chain or ())))
        complain(f"did not expect {unused}: see {command} --help{hint}")
        sys.exit(2)
    except (CycloptsError, LocalProtocolError) as error:
        complain(text_of(error))
        sys.exit(2)
    except ArtCafeError as error:
        complain(text_of(error))
        sys.exit(1)
    except OSError as error:
        if not _cannot_write(error):
            raise
        if not isinstance(error, BrokenPipeError):  # else whoever read the output has enough of it
            complain(f"cannot write: {error.strerror}")
        discard(sys.stdout.fileno())
        sys.exit(1)
    sys.exit(0)


def _cannot_write(error: OSError) -> bool:
    """Whether standard output is what failed."""
    try:
        sys.stdout.flush()  # which fails again, as what was not written is kept
    except OSError:
        return True
    return isinstance(error, BrokenPipeError) or (error.errno == errno.ENOSPC and error.filename is None)


def _operator(platform: str, ca_file: Path | None) -> Operator:
    token = os.environ.get(TENANT_TOKEN, "")
    if not token:
        raise ConfigError(
            f"set {TENANT_TOKEN} to the tenant's token: the one that the platform was given, or else "
            "the content of the file tenant-token in its data directory"
        )
    with spelled({"ca_file": "--ca-file"}):
        return Operator(platform, token, None if ca_file is None else str(ca_file))
