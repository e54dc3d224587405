"""Parameters: by keyword, by environment, and what is said about bad ones."""

from __future__ import annotations

import ssl
import typing
from pathlib import Path
from typing import Any

import pytest

from artcafe_anyio import Agent, AgentParameters
from artcafe_anyio.parameters import DERIVED, LocalSettings, read_environment, settings
from artcafe_anyio.testing import LoopClock, SimulatedPlatform
from artcafe_platform import Platform
from artcafe_proto import AgentConfig, ConfigError

IDS: AgentParameters = {"agent_id": "agent-1", "tenant_id": "tenant-1"}


def test_the_guides_defaults() -> None:
    config, machine = settings(IDS)
    assert config == AgentConfig(agent_id="agent-1", tenant_id="tenant-1")
    assert (config.api_endpoint, config.heartbeat_interval) == ("https://api.artcafe.ai", 30)
    assert machine == LocalSettings(private_key_path="~/.ssh/artcafe_agent", log_level="INFO", signature_format="ssh")


def test_every_field_is_a_parameter_of_the_same_type() -> None:
    names = {*AgentConfig.__struct_fields__, *LocalSettings.__struct_fields__} - DERIVED
    assert set(AgentParameters.__annotations__) == names
    for name in names & set(AgentConfig.__annotations__):
        declared = AgentParameters.__annotations__[name].__forward_arg__
        assert declared == AgentConfig.__annotations__[name]


def test_paths_and_lists_are_taken_as_what_they_stand_for() -> None:
    config, machine = settings(IDS | {"private_key_path": Path("key"), "extra_headers": [("x-a", "1")]})  # type: ignore
    assert machine.private_key_path == "key"
    assert config.extra_headers == (("x-a", "1"),)


NAMES = "a name is made of letters, digits and hyphens"
OWN = "that one is the protocol's own to send"
VISIBLE = "must be printable ASCII without spaces around it"
SECONDS = "must be 0.001 to 2,592,000 seconds, not"
BAD_VALUES: list[tuple[str, Any, str]] = [
    ("agent_id", "", "must be 1 to 128 printable characters, got 0 characters"),
    ("agent_id", None, "does not fit: expected `str`, got `null`"),
    ("extra_headers", {7: "x"}, "does not fit: expected `str`, got `int`"),
    ("key_id", 7, "does not fit: expected `str | null`, got `int`"),
    ("private_key_path", 3, "does not fit: expected `str`, got `int`"),
    ("log_level", "LOUD", "must be one of DEBUG, INFO, WARNING, ERROR, CRITICAL, not 'LOUD'"),
    ("signature_format", "pgp", "does not fit: expected one of ssh, raw, sshsig"),
    ("ssl_context", "x", "does not fit: expected `SSLContext`, got `str`"),
    ("heartbeat_interval", "30", "does not fit: expected `float`, got `str`"),
    ("heartbeat_interval", 0, "must be 0.01 to 3,600 seconds, not 0"),
    ("heartbeat_interval", 1e9, "must be 0.01 to 3,600 seconds, not 1000000000.0"),
    ("ping_interval", -1, f"{SECONDS} -1"),
    ("ping_timeout", float("nan"), f"{SECONDS} nan"),
    ("drain_timeout", -0.5, f"{SECONDS} -0.5"),
    ("drain_timeout", float("inf"), f"{SECONDS} inf"),
    ("connect_timeout", 0, f"{SECONDS} 0"),
    ("exchange_timeout", 0, f"{SECONDS} 0"),
    ("upgrade_timeout", 0, f"{SECONDS} 0"),
    ("sign_timeout", 0, f"{SECONDS} 0"),
    ("close_timeout", 0, f"{SECONDS} 0"),
    ("write_stall_timeout", 0, f"{SECONDS} 0"),
    ("stable_after", 1e99, f"{SECONDS} 1e+99"),
    ("max_message_size", 0, "must be 512 to 2,147,483,647, not 0"),
    ("max_message_size", 1.5, "does not fit: expected `int`, got `float`"),
    ("max_bad_messages", -1, "must be 0 to 1,000,000, not -1"),
    ("max_concurrent", 0, "must be 1 to 1,000,000, not 0"),
    ("max_concurrent", True, "does not fit: expected `int`, got `bool`"),
    ("max_queued", -1, "must be 0 to 1,000,000, not -1"),
    ("jitter", 1.5, "must be 0 to 1, not 1.5"),
    ("fixed_wait_growth", 0.5, "must be 1 to 10, not 0.5"),
    ("allow_cleartext", "yes", "does not fit: expected `bool`, got `str`"),
    ("user_agent", "a\nb", "is unusable: it " + VISIBLE),
    ("extra_headers", [("x y", "secret")], "has a field 'x y': " + NAMES),
    ("extra_headers", [("", "secret")], "has a field '': " + NAMES),
    ("extra_headers", [("Authorization", "secret")], "has a field 'Authorization': " + OWN),
    ("extra_headers", [("Upgrade", "secret")], "has a field 'Upgrade': " + OWN),
    ("extra_headers", [("Expect", "secret")], "has a field 'Expect': " + OWN),
    ("extra_headers", [("Sec-WebSocket-Key", "secret")], "has a field 'Sec-WebSocket-Key': " + OWN),
    ("extra_headers", [("x-a", "secret\r\n")], "is unusable: the value of 'x-a' " + VISIBLE),
    ("extra_headers", [("x-a", " secret")], "is unusable: the value of 'x-a' " + VISIBLE),
    ("extra_headers", [("x-a", "sécret")], "is unusable: the value of 'x-a' " + VISIBLE),
    ("extra_headers", [("x-a",)], "does not fit: expected `array` of length 2"),
    ("extra_headers", [("x-a", b"secret")], "does not fit: expected `str`, got `bytes`"),
    ("ws_endpoint", "ws://ws.example.com", "would send tokens unencrypted to ws.example.com: use https://, "),
    ("ws_endpoint", "wss://user:secret@ws.example.com", "names a user: expected a base URL"),
]


@pytest.mark.parametrize(
    ("name", "value", "problem"), BAD_VALUES, ids=[f"{row[0]}={row[1]!a:.40}" for row in BAD_VALUES]
)
def test_bad_values_are_refused_at_once_by_name_and_without_a_secret(name: str, value: Any, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Agent(**typing.cast("Any", {name: value}))
    assert str(caught.value).startswith(f"{name} {problem}")
    assert caught.value.setting == name
    assert "secret" not in str(caught.value)


def test_what_is_possible_is_taken() -> None:
    Agent(
        heartbeat_interval=0.01, max_queued=0, max_bad_messages=0, jitter=0, fixed_wait_growth=1, max_message_size=512
    )
    Agent(extra_headers=(("X-Proxy-Key", "a secret of many words"), ("x-empty", "")), drain_timeout=86_400)
    Agent(api_endpoint="http://10.0.0.1", allow_cleartext=True, ssl_context=ssl.create_default_context())


def test_a_context_of_ones_own_verifies_and_takes_no_files() -> None:
    with pytest.raises(ConfigError, match=r"^ssl_context must verify the platform, and verifies nobody$"):
        Agent(ssl_context=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    nameless = ssl.create_default_context()
    nameless.check_hostname = False
    with pytest.raises(ConfigError, match=r"^ssl_context must verify the platform's name: set its check_hostname$"):
        Agent(ssl_context=nameless)
    for name in ("ca_file", "client_cert_file"):
        files: Any = {name: "file.pem"}
        with pytest.raises(ConfigError, match=rf"^{name} has no effect on an ssl_context of your own"):
            Agent(**files, ssl_context=ssl.create_default_context())


def test_a_variable_may_need_what_the_program_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARTCAFE_API_ENDPOINT", "http://10.0.0.1")
    Agent(allow_cleartext=True).configured()
    with pytest.raises(ConfigError, match=r"^ARTCAFE_API_ENDPOINT would send tokens unencrypted to 10\.0\.0\.1"):
        Agent().configured()


def test_unknown_names() -> None:
    with pytest.raises(TypeError, match="no parameter 'agentid'"):
        Agent(agentid="x")  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]


@pytest.mark.parametrize("missing", ["agent_id", "tenant_id"])
def test_what_is_missing_is_named_with_its_variable(missing: str) -> None:
    agent = Agent(**typing.cast("Any", {name: value for name, value in IDS.items() if name != missing}))
    with pytest.raises(ConfigError, match=rf"{missing} is missing: .* set ARTCAFE_{missing.upper()}"):
        agent.run()


def test_the_environment() -> None:
    environ = {
        "ARTCAFE_API_ENDPOINT": "http://127.0.0.1:8420",
        "ARTCAFE_AGENT_ID": "agent-1",
        "ARTCAFE_TENANT_ID": "tenant-1",
        "ARTCAFE_PRIVATE_KEY_PATH": "/run/secrets/key",
        "ARTCAFE_KEY_ID": "",
        "ARTCAFE_LOG_LEVEL": "debug",
        "ARTCAFE_HEARTBEAT_INTERVAL": "5",
        "ARTCAFE_JOURNAL": "/var/lib/agent/journal.db",
        "ARTCAFE_TENANT_TOKEN": "not for agents",
        "PATH": "/bin",
    }
    assert read_environment(environ) == {
        "api_endpoint": "http://127.0.0.1:8420",
        "agent_id": "agent-1",
        "tenant_id": "tenant-1",
        "private_key_path": "/run/secrets/key",
        "log_level": "debug",
        "heartbeat_interval": 5.0,
        "journal_path": "/var/lib/agent/journal.db",
    }


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ARTCAFE_API_ENDPOINT", "api.artcafe.ai"),
        ("ARTCAFE_AGENT_ID", "\n"),
        ("ARTCAFE_TENANT_ID", "x" * 129),
        ("ARTCAFE_KEY_ID", "\x7f"),
        ("ARTCAFE_LOG_LEVEL", "loud"),
        ("ARTCAFE_HEARTBEAT_INTERVAL", "thirty"),
        ("ARTCAFE_HEARTBEAT_INTERVAL", "nan"),
        ("ARTCAFE_HEARTBEAT_INTERVAL", "0"),
    ],
)
def test_a_bad_variable_is_named(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError, match=f"^{variable} ") as caught:
        Agent.from_env()
    assert "\n" not in str(caught.value)


def parameters_of(agent: Agent) -> AgentParameters:
    return agent._parameters.value  # pyright: ignore[reportPrivateUsage]


def test_what_goes_before_what(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARTCAFE_AGENT_ID", "of-the-environment")
    monkeypatch.setenv("ARTCAFE_TENANT_ID", "of-the-environment")
    assert parameters_of(Agent(agent_id="own")) == {"agent_id": "own"}
    assert parameters_of(Agent.from_env(agent_id="own")) == {"agent_id": "own", "tenant_id": "of-the-environment"}
    configured = Agent(agent_id="own", tenant_id="own", jitter=0.5).configured(tenant_id="given")
    assert parameters_of(configured) == {"agent_id": "of-the-environment", "tenant_id": "given", "jitter": 0.5}


def test_a_configured_agent_has_the_same_handlers_and_then_its_own() -> None:
    agent = Agent()
    agent.command("a", inline=True)(lambda: None)
    copy = agent.configured()
    copy.command("b", inline=True)(lambda: None)
    agent.command("b", inline=True)(lambda: None)


def test_extra_headers_may_be_a_mapping_or_pairs() -> None:
    for given in ({"X-Tunnel": "one"}, (("X-Tunnel", "one"),)):
        agent = Agent(agent_id="a", tenant_id="t", extra_headers=given)
        assert agent.config.extra_headers == (("X-Tunnel", "one"),)
    with pytest.raises(ConfigError, match="extra_headers"):
        Agent(agent_id="a", tenant_id="t", extra_headers={"a b": "x"})


@pytest.mark.anyio
@pytest.mark.parametrize("wrong", ["x", LoopClock, lambda: 1.0], ids=["text", "a class", "a number"])
async def test_what_is_no_clock_is_a_config_error_wherever_it_is_given(wrong: Any) -> None:
    parameters: Any = {"agent_id": "a", "tenant_id": "t", "private_key_path": "key", "api_endpoint": "http://localhost"}
    with pytest.raises(ConfigError, match=r"^clock must be a function that gives an Instant"):
        async with Platform(clock=wrong):
            pass
    with pytest.raises(ConfigError, match=r"^clock must be a function that gives an Instant"):
        SimulatedPlatform(Agent(**parameters), clock=wrong)
    with pytest.raises(ConfigError, match=r"^clock must be a function that gives an Instant"):
        await Agent(**parameters).serve(clock=wrong)
