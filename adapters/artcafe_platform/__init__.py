"""A platform on anyio (asyncio and trio): sockets, clocks and files around the pure `PlatformHub`."""

from artcafe_platform.data_dir import load_or_create_secret
from artcafe_platform.server import Platform
from artcafe_platform.tls import make_server_context

__all__ = ["Platform", "load_or_create_secret", "make_server_context"]
