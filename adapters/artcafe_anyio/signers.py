"""Who signs challenges: a key file, an ssh-agent, or a function of the author's (AUTH-6)."""

from __future__ import annotations

import os
import socket
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, cast

import anyio
from anyio import to_thread

from artcafe_anyio.calling import CallFailed, call_anywhere, check_function, check_takes_one, is_async
from artcafe_anyio.files import FromFiles
from artcafe_anyio.keys import load_key, read_public_key
from artcafe_proto import ConfigError, PublicKey, SigningKey, SigningRefusedError, SshAgentSigning

if TYPE_CHECKING:
    from artcafe_anyio.files import Tell
    from artcafe_anyio.keys import Passphrase
    from artcafe_anyio.parameters import LocalSettings
    from artcafe_anyio.threads import Threads
    from artcafe_proto import SignatureFormat

SignFunction = Callable[[bytes], bytes | Awaitable[bytes]]
"""Makes the signature of a challenge, in the format that the platform expects; raises SigningRefusedError with a text
for people, or anything else. An `async def` is a task, anything else is called in a thread, and awaited if it returns
what can be.
"""
Signer = Callable[[bytes], Awaitable[bytes]]

_SOCKET = "SSH_AUTH_SOCK"
_MOST_AT_ONCE = 65_536


async def open_key(
    setting: str, path: str, passphrase: Passphrase | None, local: LocalSettings, threads: Threads, tell: Tell
) -> tuple[Signer, FromFiles[SigningKey] | FromFiles[PublicKey]]:
    """The signer for the key in a file: the key itself, or for a public key (`.pub`) the ssh-agent that holds its other
    half. Raises ConfigError, about the parameter `setting`, for what cannot be used. The second that is returned reads
    the key again when its file has changed, or that of its passphrase.
    """

    def files() -> list[str]:
        return [os.path.expanduser(each) for each in (path, local.key_passphrase_file) if each is not None]

    signature_format = local.signature_format
    if not path.endswith(".pub"):
        load = partial(load_key, path, passphrase, setting=setting)
        key = await to_thread.run_sync(FromFiles[SigningKey], load, files, tell, _fingerprint_of_private)
        return by_function(partial(_sign, key, signature_format), threads), key
    public = await to_thread.run_sync(
        FromFiles[PublicKey], lambda: read_public_key(path, setting=setting), lambda: files()[:1], tell, _fingerprint
    )
    where = os.environ.get(_SOCKET)
    if not where or not hasattr(socket, "AF_UNIX"):
        lack = f"{_SOCKET} does not say where it is: start one with eval $(ssh-agent), or"
        if where:
            lack = "Python reaches none on this system:"
        raise ConfigError(
            f"{path} is a public key, so an ssh-agent signs, and {lack} give the private key",
            setting=setting,
        )
    return partial(_sign_by_ssh_agent, where, public, signature_format, threads), public


def _fingerprint(key: PublicKey) -> str:
    return key.fingerprint


def _fingerprint_of_private(key: SigningKey) -> str:
    return key.public.fingerprint


def _sign(key: FromFiles[SigningKey], signature_format: SignatureFormat, challenge: bytes) -> bytes:
    return key.get().sign(challenge, signature_format)


def by_function(function: SignFunction, threads: Threads) -> Signer:
    """`function` as a signer. Raises LocalProtocolError if it cannot be one."""
    check_function(function, "sign")
    check_takes_one(function, "sign")
    return partial(_call, function, threads, in_thread=not is_async(function))


async def _call(function: SignFunction, threads: Threads, challenge: bytes, *, in_thread: bool) -> bytes:
    try:
        signature = await call_anywhere(partial(function, challenge), threads, in_thread=in_thread)
    except CallFailed as failed:
        if isinstance(failed.error, Exception):
            raise failed.error from None
        raise SigningRefusedError(f"sign raised {type(failed.error).__name__}") from None
    if not isinstance(signature, bytes | bytearray | memoryview):
        raise SigningRefusedError(f"sign returns the signature in bytes, and returned {type(signature).__name__}")
    return bytes(cast("bytes", signature))


async def _sign_by_ssh_agent(
    where: str, public: FromFiles[PublicKey], signature_format: SignatureFormat, threads: Threads, challenge: bytes
) -> bytes:
    signing = SshAgentSigning(await threads.run(public.get), challenge, signature_format)
    try:
        async with await anyio.connect_unix(where) as stream:
            to_send = signing.request
            while signing.signature is None:
                if to_send:
                    await stream.send(to_send)
                to_send = signing.receive_data(await stream.receive(_MOST_AT_ONCE))
    except anyio.EndOfStream:
        raise SigningRefusedError("the ssh-agent closed the connection") from None
    except (OSError, anyio.BrokenResourceError) as error:
        why = getattr(error, "strerror", None) or type(error).__name__
        raise SigningRefusedError(f"cannot reach the ssh-agent at {where} ({_SOCKET}): {why}") from None
    return signing.signature
