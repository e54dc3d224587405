"""Agents for the ArtCafe.ai Agent API on asyncio and on trio: write handlers, call `run`, never see a socket."""

from artcafe_anyio.agent import Agent
from artcafe_anyio.errors import CallError, GaveUpError, NotSettledError
from artcafe_anyio.handlers import CommandContext, CommandError
from artcafe_anyio.parameters import AgentParameters

__all__ = [
    "Agent", "AgentParameters", "CommandContext",
    "CallError", "CommandError", "GaveUpError", "NotSettledError",
]  # fmt: skip
