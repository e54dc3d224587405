"""Agents and keys: who may connect (PLAT-2, PLAT-3)."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

import msgspec

from artcafe_proto.config import check_id
from artcafe_proto.errors import ApiError, ConfigError, KeyRefusedError
from artcafe_proto.instants import format_timestamp
from artcafe_proto.limits import (
    AGENT_OVERHEAD_BYTES,
    KEY_OVERHEAD_BYTES,
    MAX_AGENT_BYTES,
    MAX_AGENTS,
    MAX_KEYS_PER_AGENT,
)
from artcafe_proto.messages import encode_json, text_bytes
from artcafe_proto.policies.public_keys import PublicKey
from artcafe_proto.policies.token_issuer import has_form_of_token
from artcafe_proto.secrecy import forgetful

if TYPE_CHECKING:
    from random import Random

    from artcafe_proto.messages import AgentStatus
    from artcafe_proto.platform.session import PlatformSession


_VISIBLE_ASCII: Final = re.compile(r"[\x21-\x7e]+")


class Key(msgspec.Struct, gc=False):
    """A public key of an agent. Revoking it removes it: tokens made with it name a key that is not there (TOK-6)."""

    key_id: str
    agent_id: str
    public_key: PublicKey
    name: str

    @property
    def size(self) -> int:
        """Bytes that are kept of it."""
        return KEY_OVERHEAD_BYTES + 4 * len(self.public_key.blob) + text_bytes(self.name)


class Presence(msgspec.Struct):
    """What is known of an agent's link (HB-3, PLAT-6). `epoch` counts its links and fences their ends."""

    epoch: int = 0
    session: PlatformSession | None = None
    online: bool = False
    """From the first heartbeat of a link to its end."""
    status: AgentStatus = "offline"
    last_seen: float | None = None
    cpu_usage: float = 0.0
    memory_usage: float = 0.0


class Agent(msgspec.Struct):
    """A registered agent."""

    tenant_id: str
    agent_id: str
    name: str
    described: msgspec.Raw
    """Its capabilities and its metadata, in JSON: as values they would take twenty times as much."""
    created_at: float
    place: int
    """Among its tenant's agents, from 0."""
    keys: dict[str, Key] = {}
    presence: Presence = msgspec.field(default_factory=Presence)

    @property
    def size(self) -> int:
        """Bytes that are kept of it, without its keys."""
        return AGENT_OVERHEAD_BYTES + len(bytes(self.described)) + text_bytes(self.name)

    def public(self) -> dict[str, Any]:
        """The agent object of the HTTP interface (PLAT-3)."""
        presence = self.presence
        described = _described_decoder.decode(self.described)
        return {
            "agent_id": self.agent_id,
            "tenant_id": self.tenant_id,
            "name": self.name,
            "capabilities": described.capabilities,
            "metadata": described.metadata,
            "created_at": format_timestamp(self.created_at),
            "status": presence.status if presence.online else "offline",
            "last_seen": None if presence.last_seen is None else format_timestamp(presence.last_seen),
            "metrics": {"cpu_usage": presence.cpu_usage, "memory_usage": presence.memory_usage},
        }


class _Described(msgspec.Struct, frozen=True, gc=False):
    capabilities: tuple[str, ...]
    metadata: dict[str, Any]


_described_decoder: Final = msgspec.json.Decoder(_Described)


class Registry:
    """All tenants, agents and keys. Agent ids are unique on the platform: a challenge names no tenant (AUTH-1)."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._tenants: dict[bytes, str] = {}
        self._agents: dict[str, Agent] = {}
        self._agents_of: dict[str, list[Agent]] = {}
        self._keys: dict[str, Key] = {}
        self._bytes = 0

    # --- tenants ------------------------------------------------------------------------------------------------------

    @forgetful
    def add_tenant(self, tenant_id: str, token: str) -> None:
        """Let `token` speak for a tenant (PLAT-1); only its hash is kept."""
        check_id("tenant_id", tenant_id)
        if len(token) < 16 or not _VISIBLE_ASCII.fullmatch(token):
            raise ConfigError(
                "a tenant token must be 16 or more visible ASCII characters: it is a password in a header"
            )
        if has_form_of_token(token):
            raise ConfigError("a tenant token must not look like a JSON Web Token: agents' tokens do")
        digest = sha256(token.encode()).digest()
        if self._tenants.setdefault(digest, tenant_id) != tenant_id:
            raise ConfigError(f"the token of {tenant_id} is another tenant's already: give it one of its own")

    def tenant_of(self, token: str) -> str | None:
        """The tenant a token speaks for. What is compared are hashes: how long it takes tells nothing of a token."""
        return self._tenants.get(sha256(token.encode("utf-8", "surrogatepass")).digest())

    # --- agents -------------------------------------------------------------------------------------------------------

    def create_agent(
        self,
        tenant_id: str,
        *,
        agent_id: str | None,
        name: str,
        capabilities: tuple[str, ...],
        metadata: dict[str, Any],
        wall: float,
    ) -> Agent:
        """Register an agent. Raises ApiError: 422 for a bad id or name, 409 for one that is taken, 507 when full; and
        LocalProtocolError for metadata that JSON does not have, such as NaN.
        """
        _check_name(name)
        agent_id = f"agent-{self._rng.getrandbits(128):032x}" if agent_id is None else agent_id
        try:
            check_id("agent_id", agent_id)
        except ConfigError as error:
            raise ApiError(422, "invalid_agent_id", str(error)) from None
        if agent_id in self._agents:
            raise ApiError(409, "agent_exists", "this agent_id is already registered")
        if len(self._agents) >= MAX_AGENTS or self._bytes >= MAX_AGENT_BYTES:
            limit = f"{MAX_AGENTS} agents, or {MAX_AGENT_BYTES} bytes"
            raise ApiError(507, "too_many_agents", f"the platform holds at most {limit}")
        described = encode_json(_Described(capabilities, metadata), "metadata")
        others = self._agents_of.setdefault(tenant_id, [])
        agent = Agent(tenant_id, agent_id, name or agent_id, described, wall, place=len(others))
        self._bytes += agent.size
        self._agents[agent_id] = agent
        others.append(agent)
        return agent

    def find(self, agent_id: str) -> Agent | None:
        """The agent of this id, of whichever tenant."""
        return self._agents.get(agent_id)

    def agent(self, tenant_id: str, agent_id: str) -> Agent:
        """A tenant's agent. Raises ApiError 404, also for another tenant's."""
        agent = self._agents.get(agent_id)
        if agent is None or agent.tenant_id != tenant_id:
            raise ApiError(404, "agent_not_found", "no such agent")
        return agent

    def agents(self, tenant_id: str) -> list[Agent]:
        """A tenant's agents, in order of registration."""
        return self._agents_of.get(tenant_id, [])

    # --- keys ---------------------------------------------------------------------------------------------------------

    def add_key(self, tenant_id: str, agent_id: str, public_key: str, name: str) -> Key:
        """Register a public key line. Raises ApiError: 422 for a bad key or name, 404, 409 for one that is known."""
        _check_name(name)
        agent = self.agent(tenant_id, agent_id)
        try:
            parsed = PublicKey.parse(public_key)
        except KeyRefusedError as error:
            raise ApiError(422, "invalid_key", str(error)) from None
        if any(key.public_key.fingerprint == parsed.fingerprint for key in agent.keys.values()):
            raise ApiError(409, "key_exists", "this agent already has this key")
        if len(agent.keys) >= MAX_KEYS_PER_AGENT:
            raise ApiError(409, "too_many_keys", f"an agent has at most {MAX_KEYS_PER_AGENT} keys")
        if self._bytes >= MAX_AGENT_BYTES:
            raise ApiError(409, "too_many_keys", f"the platform holds at most {MAX_AGENT_BYTES} bytes of agents")
        key = Key(f"key-{self._rng.getrandbits(128):032x}", agent_id, parsed, name)
        agent.keys[key.key_id] = self._keys[key.key_id] = key
        self._bytes += key.size
        return key

    def key(self, tenant_id: str, key_id: str) -> Key:
        """A tenant's key. Raises ApiError 404, also for another tenant's."""
        key = self._keys.get(key_id)
        if key is None or self._agents[key.agent_id].tenant_id != tenant_id:
            raise ApiError(404, "key_not_found", "no such key")
        return key

    def remove_key(self, key: Key) -> None:
        """Revoke a key."""
        self._bytes -= key.size
        del self._keys[key.key_id]
        del self._agents[key.agent_id].keys[key.key_id]


def _check_name(name: object) -> None:
    if not isinstance(name, str):
        raise ApiError(422, "invalid_body", f"expected a name as text, not {type(name).__name__}")
