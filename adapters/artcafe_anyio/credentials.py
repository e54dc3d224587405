"""What an agent has in files: whom it trusts, the certificate that it shows, its keys; read again when they change."""

from __future__ import annotations

import logging
import ssl
from typing import TYPE_CHECKING, Any

from anyio import to_thread

from artcafe_anyio.files import FromFiles
from artcafe_anyio.keys import KEY_SETTING, passphrase_in
from artcafe_anyio.signers import open_key
from artcafe_anyio.tls import files_of_ssl_context, make_ssl_context
from artcafe_proto.secrecy import Secretive

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from artcafe_anyio.keys import Passphrase
    from artcafe_anyio.logs import AgentLog
    from artcafe_anyio.parameters import LocalSettings
    from artcafe_anyio.signers import Signer
    from artcafe_anyio.threads import Threads
    from artcafe_proto import AgentConfig

    Trust = Callable[[], Awaitable[ssl.SSLContext]]
    """The context for a connection that is to be made now."""


class Credentials(Secretive):
    """Those of one run of an agent."""

    def __init__(self, config: AgentConfig, local: LocalSettings, threads: Threads, log: AgentLog) -> None:
        self._config = config
        self._local = local
        self._threads = threads
        self._log = log
        self._files: list[FromFiles[Any]] = []
        self.keys: str = ""
        """The keys of the files by their fingerprints, once `signers` has read them."""

    async def trust(self) -> Trust | None:
        """How to verify the platform; None where there is nothing to verify. Raises ConfigError."""
        local, config = self._local, self._config
        own = local.ssl_context
        if own is not None:

            async def as_it_is() -> ssl.SSLContext:
                return own

            return as_it_is
        if not (config.api.origin.tls or config.ws.origin.tls):
            return None
        ca_file, cert_file, key_file = local.ca_file, local.client_cert_file, local.client_key_file

        def make() -> ssl.SSLContext:
            return make_ssl_context(
                ca_file, client_cert_file=cert_file, client_key_file=key_file, passphrase=passphrase_of(local)
            )

        def paths() -> list[str]:
            passphrase_file = None if cert_file is None else local.key_passphrase_file
            return files_of_ssl_context(ca_file, cert_file, key_file, passphrase_file)

        context = await to_thread.run_sync(FromFiles[ssl.SSLContext], make, paths, self._log.line)
        self._files.append(context)
        return lambda: self._threads.run(context.get)

    async def signers(self) -> list[Signer]:
        """One for each key file, the first one first. Raises ConfigError."""
        local = self._local
        signers: list[Signer] = []
        fingerprints: list[str] = []
        paths = {KEY_SETTING: local.private_key_path, "next_private_key_path": local.next_private_key_path}
        for setting, path in paths.items():
            if not path:
                continue
            signer, key = await open_key(setting, path, passphrase_of(local), local, self._threads, self._log.line)
            signers.append(signer)
            fingerprints.append(str(key))
            self._files.append(key)
        self.keys = ", then ".join(fingerprints)
        return signers

    async def read_again(self) -> None:
        """Read again what has changed, now and not when it is needed next."""
        for each in self._files:
            try:
                await self._threads.run(each.get)
            except Exception as error:  # no thread is left, no memory: what was read before stays in force
                self._log.line(logging.ERROR, f"files were not read again: {type(error).__name__} [AUTH-5]", error)


def passphrase_of(local: LocalSettings) -> Passphrase | None:
    """Where the passphrase of an encrypted key comes from."""
    return local.passphrase if local.key_passphrase_file is None else passphrase_in(local.key_passphrase_file)
