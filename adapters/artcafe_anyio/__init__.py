"""Agents for the ArtCafe.ai Agent API on asyncio and on trio: write handlers, call `run`, never see a socket."""

from artcafe_anyio import agent, errors, handlers, parameters
from artcafe_anyio.agent import *
from artcafe_anyio.errors import *
from artcafe_anyio.handlers import *
from artcafe_anyio.parameters import *

__all__: list[str] = []
__all__ += agent.__all__
__all__ += errors.__all__
__all__ += handlers.__all__
__all__ += parameters.__all__
