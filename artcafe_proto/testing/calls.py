"""What callers of a simulation ask for over HTTP: all that a platform's API offers, on agents that are at work."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, Any, Final

import msgspec

from artcafe_proto.config import API_PREFIX
from artcafe_proto.testing.invariants.calls import Call
from artcafe_proto.testing.tenants import TENANT, TENANT_TOKEN

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from artcafe_proto.platform.state import PlatformState
    from artcafe_proto.testing.tenants import Account
    from artcafe_proto.testing.whole import Whole

_NOBODY: Final = "agent-unknown"
_OWN_AGENTS: Final = 4
_ARRIVES_WITHIN_S: Final = 10.0
"""A request does so by then, or never: for so long its effect is looked for, and so long before the calm no key is
revoked."""
_WAITS_S: Final = (0.0, 0.5, 10.0, 60.0)


class Calls:
    """Draws them, and learns from the responses."""

    def __init__(self, sim: Whole, rng: Random) -> None:
        self._sim = sim
        self._rng = rng
        self._tokens: dict[str, str] = {}
        """Of agents for whom it has signed in."""
        self._challenges: dict[str, str] = {}
        self._keys = ["key-unknown"]
        self._sent = 0
        self.last_event_id: str | None = None
        """Of the last event that a stream brought."""
        commands = (self._send_command, self._send_command, self._show_command, self._show_command)
        agents = (self._create_agent, self._list_agents, self._show_agent, self._add_key, self._revoke_own_key)
        rest = (self._send_message, self._listen, self._sign_in, self._sign_in, self._as_an_agent, self._go_astray)
        self._draws: tuple[Callable[[], Call], ...] = (*commands, *agents, *rest, self._revoke_key)

    def draw(self) -> Call:
        """The next one."""
        return self._rng.choice(self._draws)()

    def _call(self, method: str, path: str, *statuses: int, body: Any = None, token: str = TENANT_TOKEN) -> Call:
        headers = [("authorization", f"Bearer {token}"), ("content-type", "application/json")]
        data = b"" if body is None else msgspec.json.encode(body)
        return Call(method=method, target=f"{API_PREFIX}/{path}", statuses=statuses, headers=headers, body=data)

    def _agent(self) -> str:
        return self._rng.choice(self._sim.agent_ids)

    def _own_agent(self) -> str:
        """One that never comes online, and that the platform forgets with everything else."""
        return f"own-{self._rng.randrange(_OWN_AGENTS)}"

    # --- agents and keys ----------------------------------------------------------------------------------------------

    def _create_agent(self) -> Call:
        agent_id = self._own_agent()
        call = self._call("POST", "agents", 201, 409, body={"agent_id": agent_id, "metadata": {"n": 1}})
        call.is_stored = lambda state, status, _: status not in (201, 409) or state.agent(agent_id) is not None
        return call

    def _list_agents(self) -> Call:
        call = self._call("GET", f"agents?limit={self._rng.randrange(1, 4)}", 200)
        call.is_stored = _are_agents_stored
        return call

    def _show_agent(self) -> Call:
        method = self._rng.choice(("GET", "GET", "HEAD"))
        if self._rng.random() < 0.1:
            return self._call(method, f"agents/{_NOBODY}", 404)
        return self._call(method, f"agents/{self._agent()}", 200)

    def _add_key(self) -> Call:
        body = {"agent_id": self._own_agent(), "public_key": self._rng.choice(self._sim.public_keys)}
        call = self._call("POST", "ssh-keys", 201, 404, 409, body=body)
        call.heard, call.is_stored = self._learn_key, _is_key_stored
        return call

    def _learn_key(self, status: int, body: bytes) -> None:
        if status == 201:
            self._keys.append(msgspec.json.decode(body)["key_id"])

    def _revoke_own_key(self) -> Call:
        return self._revoke(self._keys[-1])

    def _revoke(self, key_id: str) -> Call:
        call = self._call("DELETE", f"ssh-keys/{key_id}", 204, 404)
        call.is_stored = lambda state, status, _: status != 204 or state.key(key_id) is None
        return call

    def _revoke_key(self) -> Call:
        """That of an agent at work, which is given back after a while; not when that would be too late."""
        sim, platform, agent_id = self._sim, self._sim.platform, self._agent()
        until, restored_s = sim.time + _ARRIVES_WITHIN_S, self._rng.uniform(1.0, 40.0)
        if agent_id in platform.revoked or until > sim.seconds or not platform.key_ids(agent_id):
            return self._list_agents()

        def is_revoked() -> bool:
            if not platform.key_ids(agent_id) and agent_id not in platform.revoked:
                platform.revoked.add(agent_id)
                sim.after(restored_s, lambda: platform.restore_key(agent_id))
            return agent_id in platform.revoked or sim.time > until

        platform.look_for(is_revoked)
        (key_id,) = platform.key_ids(agent_id)
        call = self._revoke(key_id)
        call.heard = lambda status, _: sim.invariants.calls.revoked(agent_id, key_id) if status == 204 else None
        return call

    # --- commands and messages ----------------------------------------------------------------------------------------

    def _send_command(self) -> Call:
        sim, rng, agent_id = self._sim, self._rng, self._agent()
        if sim.tenant.has_enough:
            return self._show_command()
        self._sent += 1
        command_id = f"asked-{rng.getrandbits(32):08x}-{self._sent}"
        content = (0, rng.choice((0, 40, 2000)), rng.choice((2.0, 30.0, None)))
        body: dict[str, Any] = {
            "command": sim.tenant.name(content),
            "args": sim.tenant.args(content),
            "timeout": content[2],
        }
        body |= {"command_id": command_id, "expires_in": rng.choice((None, 8.0, 60.0))}
        until = sim.time + _ARRIVES_WITHIN_S

        def is_accepted() -> bool:
            return sim.tenant.enter_if_accepted(agent_id, command_id, content) or sim.time > until

        sim.platform.look_for(is_accepted)
        call = self._call("POST", f"agents/{agent_id}/commands", 202, 429, body=body)
        call.heard = lambda status, body: sim.invariants.calls.asked_for(
            command_id, msgspec.json.decode(body).get("command_id"), is_in_doubt=status == 503
        )
        call.promises = (command_id, agent_id)
        call.is_stored = lambda state, status, _: (
            status != 202 or state.command(TENANT, command_id, agent_id) is not None
        )
        return call

    def _show_command(self) -> Call:
        sim, rng = self._sim, self._rng
        accounts = sim.tenant.accounts
        if not accounts or rng.random() < 0.05:
            return self._call("GET", "commands/command-unknown", 404)
        command_id = rng.choice(list(accounts)[-20:])
        account, wait_s = accounts[command_id], rng.choice(_WAITS_S)
        call = self._call("GET", f"commands/{command_id}?wait={wait_s}&agent_id={account.agent_id}", 200, 404)
        call.heard = self._looker(call, command_id, account, wait_s)
        call.is_stored = _is_command_stored
        return call

    def _looker(self, call: Call, command_id: str, account: Account, wait_s: float) -> Callable[[int, bytes], None]:
        asked_at, was_over = self._sim.time, account.is_over

        def look(status: int, body: bytes) -> None:
            if status == 503:
                return  # its store takes too long
            state = msgspec.json.decode(body)["state"] if status == 200 else ""
            invariants = self._sim.invariants.calls
            invariants.shown(command_id, account, state, was_over=was_over)
            if not call.has_ended_side:
                invariants.poll_ended(command_id, account, state, asked_at, wait_s)

        return look

    def _send_message(self) -> Call:
        return self._call("POST", f"agents/{self._agent()}/messages", 202, 409, 503, body={"data": {"n": 2}})

    # --- events -------------------------------------------------------------------------------------------------------

    def _listen(self) -> Call:
        rng = self._rng
        hears_all = rng.random() < 0.7
        if rng.random() < 0.1:
            return self._call("HEAD", "events", 200)
        call = self._call("GET", "events" if hears_all else f"events?agent_id={self._agent()}", 200)
        call.listens, call.hears_all = True, hears_all
        call.events_before = self._sim.invariants.calls.events
        if self.last_event_id is not None and rng.random() < 0.8:
            call.last_event_id = self.last_event_id
            call.headers.append(("last-event-id", self.last_event_id))
        return call

    # --- by agents ----------------------------------------------------------------------------------------------------

    def _sign_in(self) -> Call:
        """As an agent that is at work, whose key the simulation has: a challenge, and next time its signature."""
        agent_id = self._agent()
        challenge = self._challenges.pop(agent_id, None)
        if challenge is None:
            call = self._call("POST", "auth/challenge", 200, body={"agent_id": agent_id})

            def sign_next(status: int, body: bytes) -> None:
                if status == 200:
                    self._challenges[agent_id] = msgspec.json.decode(body)["challenge"]

            call.heard = sign_next
            return call
        signature = self._sim.sign(challenge, self._sim.platform.keys[agent_id])
        proof = {"agent_id": agent_id, "challenge": challenge, "response": b64encode(signature).decode()}
        call = self._call("POST", "auth/verify", 200, 401, body={"tenant_id": TENANT} | proof)

        def learn(status: int, body: bytes) -> None:
            if status == 200:
                self._tokens[agent_id] = msgspec.json.decode(body)["token"]

        call.heard = learn
        return call

    def _as_an_agent(self) -> Call:
        """It reaches itself alone, as long as its token is good."""
        if not self._tokens:
            return self._sign_in()
        agent_id = self._rng.choice(list(self._tokens))
        token = self._tokens[agent_id]
        draws: tuple[Call, ...] = (
            self._call("GET", f"agents/{agent_id}", 200, 401, token=token),
            self._call("PUT", f"agents/{agent_id}/status", 200, 401, body={"status": "busy"}, token=token),
            self._call("GET", f"agents/{_NOBODY}", 403, 401, token=token),
            self._call("POST", f"agents/{agent_id}/commands", 403, 401, body={"command": "work"}, token=token),
            self._call("GET", "events", 403, 401, token=token),
        )
        return self._rng.choice(draws)

    def _go_astray(self) -> Call:
        agent_id = self._agent()
        draws: tuple[Call, ...] = (
            self._call("GET", "nowhere", 404),
            self._call("DELETE", "agents", 405),
            self._call("GET", f"ws/agent/{agent_id}", 426),
            self._call("GET", "agents", 401, token="not-the-token-of-anybody"),  # noqa: S106
            self._call("POST", f"agents/{agent_id}/commands", 422, body={"command": ""}),
            self._call("POST", f"agents/{agent_id}/messages", 400),
            self._call("PUT", f"agents/{agent_id}/status", 403, body={"status": "busy"}),
            self._call("GET", "agents?limit=0", 400),
        )
        return self._rng.choice(draws)


def _are_agents_stored(state: PlatformState, status: int, body: bytes) -> bool:
    shown = msgspec.json.decode(body)["agents"] if status == 200 else ()
    return all(state.agent(each["agent_id"]) is not None for each in shown)


def _is_key_stored(state: PlatformState, status: int, body: bytes) -> bool:
    return status != 201 or state.key(msgspec.json.decode(body)["key_id"]) is not None


def _is_command_stored(state: PlatformState, status: int, body: bytes) -> bool:
    if status != 200:
        return True
    shown = msgspec.json.decode(body)
    command = state.command(TENANT, shown["command_id"], shown["agent_id"])
    is_pending = shown["state"] in ("queued", "sent")
    return command is not None and (
        is_pending or (command.outcome is not None and command.outcome.state == shown["state"])
    )
