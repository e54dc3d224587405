"""A platform on anyio (asyncio and trio): sockets, clocks and files around the pure `PlatformHub`."""

from artcafe_platform import data_dir, server, tls
from artcafe_platform.data_dir import *
from artcafe_platform.server import *
from artcafe_platform.tls import *

__all__: list[str] = []
__all__ += data_dir.__all__
__all__ += server.__all__
__all__ += tls.__all__
