"""The worlds that are recorded: simulations of a few minutes, with tenants that use the HTTP interface."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import Any, Final, cast

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from artcafe_proto import AgentProtocol, HttpRequest, HttpResponse, Instant, LocalProtocolError
from artcafe_proto.testing import Simulation
from artcafe_proto.testing.circuits import Chunking, Circuit
from artcafe_proto.testing.tenants import TENANT, TENANT_TOKEN, Account

OTHER_TENANT: Final = "tenant-2"
TENANT_TOKENS: Final = {TENANT: TENANT_TOKEN, OTHER_TENANT: "the-token-of-tenant-2"}
ADDRESS: Final = "192.0.2.7"
"""Where every connection comes from."""
OTHER_AGENTS: Final = ("other-0", "other-1")
"""Whom the other tenant has from the beginning; they never come online."""
REQUESTS: Final = 30
"""Of tenants in one world, about; and what else its owners do as often."""
_API: Final = "/api/v1"
_JSON: Final = "application/json"
_NO_AGENT: Final = "agent-unknown"


def simulation(seed: int, seconds: float) -> Simulation:
    """The world of a seed, as varied as those of the campaign."""
    return Simulation(
        seed,
        agents=1 + seed % 3,
        seconds=seconds,
        mean_gap_s=(10.0, 40.0, 150.0)[seed // 3 % 3],
        link_fault_s=(0.05, 0.5, 3.0)[seed // 9 % 3],
        command_gap_s=(2.0, 10.0, 30.0, 30.0)[seed % 4],
        platform={"compat": seed % 5 == 4},
    )


class Browser:
    """Tenants' HTTP client in a world, at the client's end of one connection at a time.

    It asks for what is drawn: everything that answers at once, on the agents of the simulation where that does not
    concern its own account, and otherwise on agents of another tenant, which never come online. Some of it is wrong.
    """

    wakes_at = math.inf

    def __init__(self, sim: Simulation, seed: int, gap_s: float) -> None:
        self._sim = sim
        self._rng = Random(f"browser of {seed}")
        self._gap_s = gap_s
        self._circuit: Circuit | None = None
        self._heard = bytearray()
        self._ids: dict[str, list[str]] = {
            "agent_id": [_NO_AGENT],
            "key_id": ["key-unknown"],
            "command_id": ["command-0"],
        }
        """What it has learned of, by the names in responses."""
        self._deeds: tuple[Callable[[], bytes], ...] = (
            *(self._create_agent, self._list_agents, self._show_agent),
            *(self._add_key, self._add_key, self._revoke_key),
            *(self._send_command, self._send_command, self._show_command, self._show_command, self._send_message),
            *(self._set_status, self._go_astray),
        )
        self._go_on_later()

    # --- its end of the connection ------------------------------------------------------------------------------------

    def data_arrived(self, circuit: Circuit, data: bytes) -> None:
        """Learn the ids in whole lines of JSON."""
        self._heard += data
        while (start := self._heard.find(b'{"')) >= 0:
            try:
                value, size = _decoder.raw_decode(self._heard[start:].decode())
            except ValueError:
                return
            del self._heard[: start + size]
            self._learn(value)

    def _learn(self, value: dict[str, Any]) -> None:
        for found in (value, *value.get("agents", ())):
            for name, known in self._ids.items():
                if name in found and found[name] not in known:
                    known.append(found[name])

    def eof_arrived(self, circuit: Circuit) -> None:
        """The platform has ended it."""
        self._leave(circuit, abort=False)

    def reset_arrived(self, circuit: Circuit, reason: str) -> None:
        """It is gone."""
        self._leave(circuit, abort=True)

    def _leave(self, circuit: Circuit, *, abort: bool) -> None:
        circuit.leave(circuit.down, circuit.up, abort=abort)
        if self._circuit is circuit:
            self._circuit = None

    # --- what it does -------------------------------------------------------------------------------------------------

    def _go_on_later(self) -> None:
        self._sim.after(self._rng.expovariate(1 / self._gap_s), self._go_on)

    def _go_on(self) -> None:
        sim, rng = self._sim, self._rng
        if sim.is_calm:
            return
        self._go_on_later()
        if self._circuit is not None and rng.random() < 0.3:
            self._leave(self._circuit, abort=rng.random() < 0.3)
        if self._circuit is None:
            self._heard.clear()
            self._circuit = Circuit(self, sim.platform, schedule=sim.schedule, rng=rng, latency_s=sim.world.latency_s)
            self._circuit.up.chunking = rng.choice([Chunking.WHOLE, Chunking.WHOLE, Chunking.BYTES, Chunking.SPLIT])
            sim.platform.accept(self._circuit)
        self._circuit.up.send(b"".join([rng.choice(self._deeds)() for _ in range(rng.choice((1, 1, 1, 2)))]))

    def _request(
        self, method: str, target: str, body: Any = None, *, tenant: str = OTHER_TENANT, kind: str = _JSON
    ) -> bytes:
        content = b"" if body is None else json.dumps(body).encode()
        lines = [
            f"{method} {_API}/{target} HTTP/1.1",
            "Host: localhost",
            f"Authorization: Bearer {TENANT_TOKENS[tenant]}",
        ]
        if body is not None:
            lines += [f"Content-Type: {kind}", f"Content-Length: {len(content)}"]
        return "\r\n".join([*lines, "", ""]).encode() + content

    def _one(self, name: str) -> str:
        return self._rng.choice(self._ids[name])

    def _own_agent(self) -> str:
        return f"other-{self._rng.randrange(3)}" if self._rng.random() < 0.8 else self._one("agent_id")

    def _create_agent(self) -> bytes:
        number = self._rng.randrange(8)
        given = {"agent_id": f"other-{number}"} if number < 6 else {}
        rest = {"name": f"Other {number}", "capabilities": ["nothing"], "metadata": {"number": number}}
        return self._request("POST", "agents", given | (rest if number % 2 else {}))

    def _list_agents(self) -> bytes:
        query = self._rng.choice(
            ["", "?limit=2", f"?limit=1&after={self._one('agent_id')}", "?limit=0", "?limit=1&limit=1"]
        )
        return self._request("GET", f"agents{query}", tenant=self._rng.choice((TENANT, OTHER_TENANT)))

    def _show_agent(self) -> bytes:
        tenant = self._rng.choice((TENANT, OTHER_TENANT))
        return self._request(self._rng.choice(("GET", "GET", "HEAD")), f"agents/{self._one('agent_id')}", tenant=tenant)

    def _add_key(self) -> bytes:
        private = Ed25519PrivateKey.from_private_bytes(bytes([self._rng.randrange(4)]) * 32)
        line = private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
        line = self._rng.choice((line, line, line, "ssh-ed25519 AAAA"))
        return self._request("POST", "ssh-keys", {"agent_id": self._own_agent(), "public_key": line, "name": "drawn"})

    def _revoke_key(self) -> bytes:
        return self._request(
            "DELETE", f"ssh-keys/{self._ids['key_id'][-1] if self._rng.random() < 0.7 else self._one('key_id')}"
        )

    def _send_command(self) -> bytes:
        sim, rng = self._sim, self._rng
        timeout_s = rng.choice((2.0, 30.0, None))
        body = {"command": "work", "args": {"n": 0, "text": ""}, "timeout": timeout_s}
        if rng.random() < 0.5 and sim.tenant.unanswered < sim.world.most_unanswered:
            return self._request("POST", f"agents/{rng.choice(sim.agent_ids)}/commands", body, tenant=TENANT)
        if rng.random() < 0.3:
            body |= {"command_id": f"own-{rng.randrange(3)}", "timeout": None}
        return self._request("POST", f"agents/{self._own_agent()}/commands", body)

    def _show_command(self) -> bytes:
        tenant = self._rng.choice((TENANT, OTHER_TENANT))
        return self._request("GET", f"commands/{self._one('command_id')}?wait=0", tenant=tenant)

    def _send_message(self) -> bytes:
        agent_id = self._rng.choice((*self._sim.agent_ids, self._one("agent_id")))
        return self._request("POST", f"agents/{agent_id}/messages", {"data": {"n": 2}}, tenant=TENANT)

    def _set_status(self) -> bytes:
        return self._request("PUT", f"agents/{self._own_agent()}/status", {"status": "busy"})

    def _go_astray(self) -> bytes:
        wrong = (
            self._request("GET", "nowhere"),
            self._request("DELETE", "agents"),
            self._request("POST", "agents", {}, kind="text/plain"),
            self._request("POST", "agents", {"agent_id": "x" * 200}),
            self._request("POST", f"agents/{_NO_AGENT}/messages", {"data": {}}),
            self._request("GET", "agents").replace(b"the-token", b"not-the-token"),
            self._request("GET", "agents").replace(b"Authorization", b"X-Nothing"),
            self._request("GET", "agents").replace(b"HTTP/1.1", b"HTTP/1.0"),
            self._request("GET", f"ws/agent/{self._sim.agent_ids[0]}"),
            self._request("GET", "agents").replace(b"Host: localhost\r\n", b""),
        )
        return self._rng.choice(wrong)

    # --- the account of the simulation's tenant -----------------------------------------------------------------------

    def answered(self, request: HttpRequest, response: HttpResponse) -> None:
        """A request was answered: a command for an agent of the simulation is its tenant's."""
        tenant = self._sim.tenant
        agent_id = request.target.removeprefix(f"{_API}/agents/").removesuffix("/commands")
        if response.status == 202 and request.target.endswith("/commands") and agent_id in self._sim.agent_ids:
            timeout_s = json.loads(request.body)["timeout"]
            tenant.accepted += 1
            tenant.unanswered += 1
            command_id = json.loads(response.body)["command_id"]
            tenant.accounts[command_id] = Account(agent_id, tenant.accepted, (0, 0, timeout_s))


class Owner:
    """What the simulation's drivers and applications never do: metrics, misuse, late and repeated calls, drops."""

    def __init__(self, sim: Simulation, seed: int, gap_s: float) -> None:
        self._sim = sim
        self._rng = Random(f"owner of {seed}")
        self._gap_s = gap_s
        self._go_on_later()

    def _go_on_later(self) -> None:
        self._sim.after(self._rng.expovariate(1 / self._gap_s), self._go_on)

    def _go_on(self) -> None:
        sim, rng = self._sim, self._rng
        if sim.is_calm:
            return
        self._go_on_later()
        if rng.random() < 0.2:
            sim.platform.turn(rng.choice((self._drop, self._set_status)))
        elif sim.processes:
            process = rng.choice(sim.processes)
            process.turn(lambda now: self._do_to(process.protocol, now))

    def _drop(self, now: Instant) -> None:
        platform = self._sim.platform
        if platform.sessions:
            connection, circuit = self._rng.choice(list(platform.sessions.values()))
            connection.drop("by the owner", now)
            platform.congest([circuit], 0.1)  # which has it drained

    def _set_status(self, now: Instant) -> None:
        self._sim.platform.hub.set_status(TENANT, self._rng.choice(self._sim.agent_ids), "error", now)

    def _do_to(self, agent: AgentProtocol, now: Instant) -> None:
        rng = self._rng
        calls: tuple[Callable[[], object], ...] = (
            lambda: agent.set_metrics(rng.uniform(0, 100), rng.uniform(0, 500)),
            lambda: agent.set_metrics(-1.0, math.nan),
            lambda: agent.progress("command-0", 101, now),
            lambda: agent.set_status(cast("Any", "offline"), now),
            lambda: agent.send_message({"x": math.nan}, now),
            lambda: agent.fail("command-0", cast("Any", "no code"), "", now),
            lambda: agent.respond("command-0", {}, now),
            lambda: agent.start(now),
            lambda: agent.unsent(1, -1, now),
            lambda: agent.connected(1, now, tls=False),
            lambda: agent.connect_failed(1, "other", "late", now),
            lambda: agent.data_received(1, b"late", now),
            lambda: agent.eof_received(1, now),
            lambda: agent.disconnected(1, "late", now),
            lambda: agent.signed(1, b"late", now),
            lambda: agent.sign_failed(1, "late", now),
            lambda: agent.cancel_call(1, now),
            lambda: agent.handle_timer(now),
        )
        with suppress(LocalProtocolError):
            rng.choice(calls)()


_decoder: Final = json.JSONDecoder()
