"""Tenants, agents and keys: who may connect, and what is refused of them (PLAT-1 … PLAT-3)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from artcafe_proto.config import check_id
from artcafe_proto.errors import ApiError, ConfigError, KeyRefusedError, LocalProtocolError
from artcafe_proto.instants import Instant, sound_instant
from artcafe_proto.limits import MAX_AGENT_BYTES, MAX_AGENTS, MAX_KEYS_PER_AGENT, MAX_PAGE_BYTES
from artcafe_proto.messages import encode_json
from artcafe_proto.misuse import check_page, check_text, plain_text
from artcafe_proto.platform.answers import store_full
from artcafe_proto.platform.records import AgentRecord, Change, Description, KeyRecord, Kind, TenantRecord
from artcafe_proto.policies.public_keys import PublicKey
from artcafe_proto.policies.token_issuer import has_form_of_token
from artcafe_proto.secrecy import forgetful

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

    from artcafe_proto.platform.records import Value
    from artcafe_proto.platform.state import Key, PlatformState

_VISIBLE_ASCII: Final = re.compile(r"[\x21-\x7e]+")


class Page(NamedTuple):
    """Some agents, and the last of them if there are more."""

    agents: list[AgentRecord]
    next: str | None


class Registry:
    """Adds tenants, agents and keys to the stored state, and finds them for whoever may see them."""

    def __init__(self, state: PlatformState, put: Callable[[Change], object], rng: Random) -> None:
        """`put` changes `state`. It raises ApiError 503 if the store takes nothing."""
        self._state = state
        self._put = put
        self._rng = rng

    # --- tenants ------------------------------------------------------------------------------------------------------

    @forgetful
    def add_tenant(self, tenant_id: str, token: str) -> None:
        """Let `token` speak for a tenant (PLAT-1); only its hash is kept."""
        token_hash = _checked_token(tenant_id, token)
        known = self._state.tenant_of(token_hash)
        if known is None:
            self._add(Kind.TENANT, TenantRecord(plain_text(tenant_id), token_hash))
        elif known != tenant_id:
            raise _taken(tenant_id)

    @forgetful
    def set_tenants(self, tokens: Mapping[str, str]) -> None:
        """These tokens, by the ids of their tenants, and no other ones speak for tenants. Raises as `add_tenant`."""
        if not isinstance(tokens, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise LocalProtocolError(f"expected tokens by the ids of their tenants, not {type(tokens).__name__}")
        tenants: dict[bytes, str] = {}
        for tenant_id in tokens:
            token_hash = _checked_token(tenant_id, tokens[tenant_id])
            if tenants.setdefault(token_hash, tenant_id) != tenant_id:
                raise _taken(tenant_id)
        for n in self._state.tokens_but(tenants):
            self._put(Change(Kind.TENANT, n, None))
        for tenant_id in tokens:
            self.add_tenant(tenant_id, tokens[tenant_id])

    def tenant_of(self, token: str) -> str | None:
        """The tenant a token speaks for. What is compared are hashes: how long it takes tells nothing of a token."""
        check_text(token, "a tenant token")
        return self._state.tenant_of(sha256(token.encode("utf-8", "surrogatepass")).digest())

    # --- agents -------------------------------------------------------------------------------------------------------

    def create_agent(
        self,
        tenant_id: str,
        *,
        agent_id: str | None,
        name: str,
        capabilities: Sequence[str],
        metadata: dict[str, Any],
        wall: float,
    ) -> AgentRecord:
        """Register an agent. Raises ApiError: 422 for a bad id, name or description, 409 for an id that is taken, 503
        when full; and LocalProtocolError for metadata that JSON does not have, such as NaN, a bad tenant id and a wall
        time that is no number.
        """
        check_id("tenant_id", tenant_id)
        name = _checked_name(name)
        created_at = sound_instant(Instant(0.0, wall)).wall
        if agent_id is not None:
            try:
                check_id("agent_id", agent_id)
            except ConfigError as error:
                raise ApiError(422, "invalid_agent_id", str(error)) from None
            if self._state.agent(agent_id) is not None:
                raise ApiError(409, "agent_exists", "this agent_id is already registered")
        if self._state.agent_count >= MAX_AGENTS:
            raise store_full(f"{MAX_AGENTS} agents")
        self._check_room()
        described = _described(capabilities, metadata)
        agent_id = f"agent-{self._rng.getrandbits(128):032x}" if agent_id is None else plain_text(agent_id)
        agent = AgentRecord(plain_text(tenant_id), agent_id, name or agent_id, described, created_at)
        self._add(Kind.AGENT, agent)
        return agent

    def find(self, agent_id: str) -> AgentRecord | None:
        """The agent of this id, of whichever tenant."""
        check_text(agent_id, "an agent's id")
        return self._state.agent(agent_id)

    def agent(self, tenant_id: str, agent_id: str) -> AgentRecord:
        """A tenant's agent. Raises ApiError 404, also for another tenant's."""
        check_text(tenant_id, "a tenant's id")
        agent = self.find(agent_id)
        if agent is None or agent.tenant_id != tenant_id:
            raise ApiError(404, "agent_not_found", "no such agent")
        return agent

    def agents(self, tenant_id: str) -> tuple[AgentRecord, ...]:
        """A tenant's agents, in order of registration."""
        check_text(tenant_id, "a tenant's id")
        return tuple(self._state.agents_of(tenant_id))

    def page(self, tenant_id: str, after: str | None, limit: int) -> Page:
        """At most `limit` of a tenant's agents, in order of registration, from the one behind `after` on (PLAT-3).

        Raises ApiError 400 unless `after` is one of them, and LocalProtocolError for a `limit` below 1.
        """
        check_text(tenant_id, "a tenant's id")
        check_page(after, limit)
        start = 0
        if after is not None:
            earlier = self._state.agent(after)
            if earlier is None or earlier.tenant_id != tenant_id:
                raise ApiError(400, "invalid_query", "expected after to be the next of an earlier page")
            start = self._state.place(after) + 1
        agents = self._state.agents_of(tenant_id)
        page: list[AgentRecord] = []
        size = 0
        for agent in agents[start : start + limit]:
            size += agent.size
            if page and size > MAX_PAGE_BYTES:
                break
            page.append(agent)
        return Page(page, page[-1].agent_id if start + len(page) < len(agents) else None)

    # --- keys ---------------------------------------------------------------------------------------------------------

    def add_key(self, tenant_id: str, agent_id: str, public_key: str, name: str) -> Key:
        """Register a public key line. Raises ApiError: 422 for a bad key or name, 404, 409 for one that is known."""
        name = _checked_name(name)
        agent_id = self.agent(tenant_id, agent_id).agent_id
        keys = self._state.keys_of(agent_id)
        try:
            parsed = PublicKey.parse(public_key)
        except KeyRefusedError as error:
            raise ApiError(422, "invalid_key", str(error)) from None
        if any(key.public_key.blob == parsed.blob for key in keys):
            raise ApiError(409, "key_exists", "this agent already has this key")
        if len(keys) >= MAX_KEYS_PER_AGENT:
            raise ApiError(409, "too_many_keys", f"an agent has at most {MAX_KEYS_PER_AGENT} keys")
        self._check_room()
        key_id = f"key-{self._rng.getrandbits(128):032x}"
        self._add(Kind.KEY, KeyRecord(key_id, agent_id, parsed.openssh, name))
        return self.key(tenant_id, key_id)

    def keys(self, agent_id: str) -> tuple[Key, ...]:
        """A registered agent's keys."""
        check_text(agent_id, "an agent's id")
        return self._state.keys_of(agent_id)

    def has_key(self, agent: AgentRecord, key_id: str) -> bool:
        """Whether an agent has this key, and it is not revoked (TOK-6)."""
        return any(key.key_id == key_id for key in self._state.keys_of(agent.agent_id))

    def key(self, tenant_id: str, key_id: str) -> Key:
        """A tenant's key. Raises ApiError 404, also for another tenant's."""
        return self._named(tenant_id, key_id)[1]

    def remove_key(self, tenant_id: str, key_id: str) -> Key:
        """Revoke a key. Raises ApiError 404, also for another tenant's."""
        n, key = self._named(tenant_id, key_id)
        self._put(Change(Kind.KEY, n, None))
        return key

    def _named(self, tenant_id: str, key_id: str) -> tuple[int, Key]:
        check_text(tenant_id, "a tenant's id")
        check_text(key_id, "a key's id")
        found = self._state.key(key_id)
        agent = None if found is None else self._state.agent(found[1].agent_id)
        if found is None or agent is None or agent.tenant_id != tenant_id:
            raise ApiError(404, "key_not_found", "no such key")
        return found

    def _check_room(self) -> None:
        if self._state.agent_bytes >= MAX_AGENT_BYTES:
            raise store_full(f"{MAX_AGENT_BYTES} bytes of agents and keys")

    def _add(self, kind: Kind, value: Value) -> None:
        self._put(Change(kind, self._state.next_n(kind), value))


@forgetful
def _checked_token(tenant_id: str, token: str) -> bytes:
    """The hash of a tenant's token. Raises ConfigError for what cannot be an id or a token."""
    check_id("tenant_id", tenant_id)
    check_text(token, "a tenant token")
    if len(token) < 16 or not _VISIBLE_ASCII.fullmatch(token):
        raise ConfigError("a tenant token must be 16 or more visible ASCII characters: it is a password in a header")
    if has_form_of_token(token):
        raise ConfigError("a tenant token must not look like a JSON Web Token: agents' tokens do")
    return sha256(token.encode()).digest()


def _taken(tenant_id: str) -> ConfigError:
    return ConfigError(f"the token of {tenant_id} is another tenant's already: give it one of its own")


def _described(capabilities: Sequence[str], metadata: dict[str, Any]) -> msgspec.Raw:
    described = encode_json({"capabilities": capabilities, "metadata": metadata}, "metadata")
    try:
        msgspec.json.decode(described, type=Description)
    except msgspec.ValidationError as error:
        raise ApiError(422, "invalid_body", f"cannot be an agent's description: {error}") from None
    return described


def _checked_name(name: object) -> str:
    if not isinstance(name, str):
        raise ApiError(422, "invalid_body", f"expected a name as text, not {type(name).__name__}")
    name = plain_text(name)
    try:
        encode_json(name, "the name")  # half a surrogate pair could not be sent
    except LocalProtocolError as error:
        raise ApiError(422, "invalid_body", str(error)) from None
    return name
