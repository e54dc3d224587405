"""`artcafe platform` and `artcafe agent`: run until a signal says otherwise."""

from __future__ import annotations

import errno
import importlib
import logging
import os
import sys
from getpass import getpass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import anyio

from artcafe_anyio import Agent
from artcafe_anyio.parameters import flag, spelled
from artcafe_anyio.signals import Obeyed
from artcafe_cli.log_lines import set_up_logging
from artcafe_cli.telling import complain, say_json
from artcafe_cli.tenant_client import TENANT_TOKEN, checked_token
from artcafe_platform import Platform, make_server_context
from artcafe_platform.data_dir import SECRETS
from artcafe_platform.logs import logger
from artcafe_platform.server import DEFAULT_TENANT
from artcafe_proto import ConfigError, PlatformConfig
from artcafe_proto.config import Origin
from artcafe_proto.secrecy import forgetful

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from artcafe_platform.tls import ServerContext


_STORED = ("agents", "keys", "commands")
"""What ends with the process without a data directory."""


@forgetful
def serve_platform(
    host: str,
    port: int,
    data_dir: Path | None,
    token: str | None,
    *,
    cert_file: Path | None = None,
    key_file: Path | None = None,
    settings: Mapping[str, Any] = MappingProxyType({}),
) -> int:
    """Serve until SIGINT or SIGTERM, or a SIGHUP that ends it (CMD-8); prints one line of JSON when ready. Returns the
    exit status. `settings` are those of `PlatformConfig` that are given as flags.
    """
    with spelled({name: f"--{name.replace('_', '-')}" for name in settings}):
        config = PlatformConfig(**settings)
    ssl_context = None
    if cert_file is not None:
        with spelled({"cert_file": "--cert-file", "key_file": "--key-file"}):
            ssl_context = make_server_context(str(cert_file), None if key_file is None else str(key_file))
    elif key_file is not None:
        raise ConfigError("--key-file has no effect without --cert-file, its certificate")
    elif not Origin(False, host, port).is_loopback:
        raise ConfigError(
            f"--host {host} is open to other computers, and tokens would arrive unencrypted: give --cert-file and "
            "--key-file, or listen on 127.0.0.1, ::1 or localhost, behind a proxy that speaks TLS"
        )
    tenants = {DEFAULT_TENANT: checked_token(token)} if token else None
    show_token = tenants is None and data_dir is None
    with spelled({"port": "--port"}):
        platform = Platform(
            tenants=tenants, host=host, port=port, config=config, data_dir=data_dir, ssl_context=ssl_context
        )
    set_up_logging()
    logger.setLevel(logging.INFO)
    anyio.run(_serve_platform, platform, show_token, data_dir is not None, ssl_context)
    return 0


async def _serve_platform(
    platform: Platform, show_token: bool, is_stored: bool, ssl_context: ServerContext | None
) -> None:
    obeyed = Obeyed()
    try:  # signals end this as they do by default: nobody is served yet
        await platform.__aenter__()
    except OSError as error:
        hint = ": give another --port, or --port 0 for a free one" if error.errno == errno.EADDRINUSE else ""
        raise ConfigError(f"cannot listen on {platform.url}: {error.strerror or error}{hint}") from None
    with obeyed.receive() as signals:
        try:
            ready = {
                "ready": True,
                "url": platform.url,
                "tenant_id": DEFAULT_TENANT,
                "on_disk": (*SECRETS, *_STORED) if is_stored else (),
                "in_memory": () if is_stored else _STORED,
            }
            say_json(ready)
            if show_token and sys.stderr.isatty():
                print(f"{TENANT_TOKEN}={platform.tenants[DEFAULT_TENANT]}", file=sys.stderr, flush=True)
            elif show_token:
                text = f"the tenant's token is shown only on a terminal: set {TENANT_TOKEN}, or use --data DIR"
                complain(text)
            async for received in signals:
                if not obeyed.reads_again(received):
                    return
                what = (
                    "there is nothing to read again"
                    if ssl_context is None
                    else "files that have changed are read again"
                )
                logger.info("%s: %s [CMD-8]", received.name, what)
                if ssl_context is not None:
                    ssl_context.read_again()
        finally:
            await platform.__aexit__(None, None, None)


def run_agent(target: str, settings: dict[str, Any]) -> None:
    """Run the agent that `target` (MODULE:ATTRIBUTE) names, with `settings` over its own."""
    with spelled({name: flag(name) for name in settings}):
        agent = load_agent(target).configured(**settings)
        locked = agent.locked_key() if sys.stdin.isatty() else None
        if locked is not None:  # asked for here, where Ctrl-C ends the question
            passphrase = ask_passphrase(locked)
            agent = agent.configured(**settings, passphrase=lambda _: passphrase)
        set_up_logging()
        agent.run()


def ask_passphrase(path: str) -> str:
    """Ask on the terminal for the passphrase of a key. Raises ConfigError if nobody answers."""
    try:
        return getpass(f"Passphrase for {path}: ")
    except (EOFError, KeyboardInterrupt):
        raise ConfigError(f"{path} is encrypted, and no passphrase was given") from None


def load_agent(target: str) -> Agent:
    """The `Agent` that MODULE:ATTRIBUTE names; modules are looked for in the working directory first.

    Raises ConfigError saying which part of `target` is wrong.
    """
    module_name, _, attribute = target.partition(":")
    if not attribute or not all(part.isidentifier() for part in module_name.split(".")):
        raise ConfigError(f"expected MODULE:ATTRIBUTE, as in my_agent:agent, not {target!r}")
    sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if not f"{module_name}.".startswith(f"{error.name}."):
            raise  # something that the module itself wants is missing: its author needs the traceback
        hint = f": leave .py out, as in my_agent:{attribute}" if module_name.endswith(".py") else ""
        raise ConfigError(f"there is no module {module_name!r} here or among the installed packages{hint}") from None
    if not hasattr(module, attribute):
        raise ConfigError(f"the module {module_name} has no {attribute}: expected the name of its artcafe_anyio.Agent")
    agent = getattr(module, attribute)
    if not isinstance(agent, Agent):
        raise ConfigError(f"{target} is not an artcafe_anyio.Agent but {type(agent).__name__}")
    return agent
