"""Printed drivers of agents, each on its event loop, as `check_driver` wants them."""

from __future__ import annotations

import asyncio
import os
import ssl
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import trio


class Printed(ABC):
    """A printed driver and its loop."""

    def __init__(self, make: Callable[..., Any], meanwhile: Callable[[Any], object] | None = None) -> None:
        """`make` is called with what the loop needs; `meanwhile` when the driver is made, before it runs."""
        self.make = make
        self.meanwhile = meanwhile
        self.driver: Any = None

    @classmethod  # noqa: B027 most need nothing
    def need(cls) -> None:
        """Make ready for tests, in the main thread; skip them if something is missing, but fail where `CI=true`."""

    @staticmethod
    def tls(ca_file: Path) -> Any:
        """What the driver is given to trust an authority."""
        return ssl.create_default_context(cafile=ca_file)

    @abstractmethod
    def run(self) -> None:
        """In a thread of its own."""

    @abstractmethod
    def call_soon(self, callback: Callable[[Any], object]) -> None:
        """From another thread."""

    @abstractmethod
    def cancel(self) -> None:
        """Cancel or kill what runs the driver, by the means of its loop; called in it."""

    def begin(self, *arguments: object) -> None:
        self.driver = self.make(*arguments)
        if self.meanwhile is not None:
            self.meanwhile(self.driver)


class OnAsyncio(Printed):
    task: asyncio.Task[None]

    def run(self) -> None:
        asyncio.run(self.main())

    async def main(self) -> None:
        self.begin()
        self.task = asyncio.create_task(self.driver.run())
        with suppress(asyncio.CancelledError):  # by `cancel`
            await self.task

    def call_soon(self, callback: Callable[[Any], object]) -> None:
        self.driver.loop.call_soon_threadsafe(callback, self.driver)

    def cancel(self) -> None:
        self.task.cancel()


class OnTornado(OnAsyncio):
    def run(self) -> None:
        loop = import_module("tornado.ioloop").IOLoop(make_current=False)
        try:
            loop.run_sync(self.main)
        finally:
            loop.close()


class OnTrio(Printed):
    scope: trio.CancelScope
    token: trio.lowlevel.TrioToken

    def run(self) -> None:
        trio.run(self.main)

    async def main(self) -> None:
        self.token = trio.lowlevel.current_trio_token()
        self.begin()
        with trio.CancelScope() as self.scope:
            await self.driver.run()

    def call_soon(self, callback: Callable[[Any], object]) -> None:
        self.token.run_sync_soon(callback, self.driver)

    def cancel(self) -> None:
        self.scope.cancel()


class OnSelectors(Printed):
    def run(self) -> None:
        self.begin()
        self.driver.run()

    def call_soon(self, callback: Callable[[Any], object]) -> None:
        self.driver.call_soon(partial(callback, self.driver))

    def cancel(self) -> None:
        raise KeyboardInterrupt


class OnTwisted(Printed):
    """A reactor runs once, and parts of Twisted look for the one that is installed: each driver has one installed."""

    over: Any

    @staticmethod
    def tls(ca_file: Path) -> Any:
        module = import_module("twisted.internet.ssl")
        return module.trustRootFromCertificates([module.Certificate.loadPEM(ca_file.read_bytes())])

    def run(self) -> None:
        sys.modules.pop("twisted.internet.reactor", None)
        import_module("twisted.internet.default").install()
        self.reactor: Any = sys.modules["twisted.internet.reactor"]
        errors: list[Any] = []

        def stop(_: object) -> None:
            self.reactor.callLater(0, self.reactor.stop)  # an abort takes a turn of the reactor

        def main() -> None:
            self.begin(self.reactor)
            self.over = self.driver.run()
            self.over.addErrback(errors.append)
            self.over.addBoth(stop)

        self.reactor.callWhenRunning(main)
        self.reactor.run(installSignalHandlers=False)
        self.reactor.waker.connectionLost(None)
        self.reactor._poller.close()
        for failure in errors:
            if not failure.check(import_module("twisted.internet.defer").CancelledError):
                failure.raiseException()

    def call_soon(self, callback: Callable[[Any], object]) -> None:
        self.reactor.callFromThread(callback, self.driver)

    def cancel(self) -> None:
        self.over.cancel()


class OnGevent(Printed):
    task: Any

    @staticmethod
    def tls(ca_file: Path) -> Any:
        module = import_module("gevent.ssl")
        context = module.SSLContext(module.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(ca_file)
        return context

    def run(self) -> None:
        gevent = import_module("gevent")
        try:
            self.begin()
            self.task = gevent.spawn(self.driver.run)
            self.task.get()
        finally:
            gevent.get_hub().destroy(destroy_loop=True)

    def call_soon(self, callback: Callable[[Any], object]) -> None:
        self.driver.call_soon(callback, self.driver)

    def cancel(self) -> None:
        self.task.kill(block=False)


class OnQt(Printed):
    application: Any = None
    """One for the process."""

    @classmethod
    def need(cls) -> None:
        try:
            core = import_module("PySide6.QtCore")
            import_module("PySide6.QtNetwork")
        except ImportError as error:  # it is missing, or a library of the system that it needs
            if os.environ.get("CI") == "true":
                raise
            pytest.skip(f"the driver for Qt is not tested: {error}")
        OnQt.application = core.QCoreApplication.instance() or core.QCoreApplication([])

    @staticmethod
    def tls(ca_file: Path) -> Any:
        network = import_module("PySide6.QtNetwork")
        tls = network.QSslConfiguration.defaultConfiguration()
        tls.setCaCertificates(network.QSslCertificate.fromPath(str(ca_file)))
        return tls

    def run(self) -> None:
        self.begin()
        self.driver.run()

    def call_soon(self, callback: Callable[[Any], object]) -> None:
        self.driver.call_soon(partial(callback, self.driver))

    def cancel(self) -> None:
        self.driver.loop.quit()


LOOPS: dict[str, type[Printed]] = {
    "asyncio": OnAsyncio,
    "trio": OnTrio,
    "selectors": OnSelectors,
    "Twisted": OnTwisted,
    "Tornado": OnTornado,
    "gevent": OnGevent,
    "Qt": OnQt,
}
