"""`artcafe agent` with bad settings: one line that names the setting as it was given, status 2, nothing begun."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, rsa
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from artcafe_anyio.driver import AgentDriver
from artcafe_anyio.parameters import flag, variable
from artcafe_cli.key_files import make_key_pair
from artcafe_cli.main import main

LIKE_THIS = "expected a base URL and nothing more, as https://api.artcafe.ai is"
GOOD = {
    "api_endpoint": "http://127.0.0.1:8420",
    "agent_id": "agent-1",
    "tenant_id": "tenant-1",
    "private_key_path": "key",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working directory, with a good key; what the command would leave behind in this process is put back."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in [name for name in os.environ if name.startswith("ARTCAFE_")]:
        monkeypatch.delenv(name)

    async def run(*_: Any) -> None:
        raise AssertionError("it would have connected")

    monkeypatch.setattr(AgentDriver, "run", run)
    make_key_pair(Path("key"), "ed25519", "")
    Path("link").symlink_to("key")
    Path("hard-link").hardlink_to("key")
    logger = logging.getLogger("artcafe")
    level = logger.level
    yield tmp_path
    logger.setLevel(level)
    sys.modules.pop("my_agent", None)


@pytest.fixture
def artcafe_agent(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Run the command in this process with settings of each kind; gives its one line."""

    def run(parameters: dict[str, Any], variables: dict[str, str], flags: dict[str, str]) -> str:
        written = ", ".join(f"{name}={value!r}" for name, value in parameters.items())
        (folder / "my_agent.py").write_text(f"from artcafe_anyio import Agent\nagent = Agent({written})\n")
        for name, value in variables.items():
            monkeypatch.setenv(variable(name), value)
        given = [f"{flag(name)}={value}" for name, value in flags.items()]
        monkeypatch.setattr(sys, "argv", ["artcafe", "agent", "my_agent:agent", *given])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        assert (ended.value.code, out) == (2, "")
        assert err.startswith("artcafe: ")
        assert err.count("\n") == 1
        assert err.endswith("\n")
        return err.removeprefix("artcafe: ").rstrip("\n")

    return run


IDS = "must be 1 to 128 printable characters, got"
VALUES: list[tuple[str, str, str]] = [
    ("api_endpoint", "api.artcafe.ai", f"has no scheme: {LIKE_THIS}"),
    ("api_endpoint", "ftp://api.artcafe.ai", f"begins with ftp://: {LIKE_THIS}"),
    ("api_endpoint", "https://", f"names no host: {LIKE_THIS}"),
    ("api_endpoint", "https://host:0", f"has port 0: {LIKE_THIS}"),
    ("api_endpoint", "https://host:99999", f"names no usable host and port: {LIKE_THIS}"),
    ("api_endpoint", "https://user:secret@host", f"names a user: {LIKE_THIS}"),
    ("api_endpoint", "https://user:secr/et@host", f"names no usable host and port: {LIKE_THIS}"),
    ("api_endpoint", "https://host?token=secret", f"has a query: {LIKE_THIS}"),
    ("api_endpoint", "https://host/#secret", f"has a fragment: {LIKE_THIS}"),
    ("api_endpoint", "https://host\r\nX: secret", "must be printable ASCII without spaces"),
    (
        "api_endpoint",
        "http://api.artcafe.ai",
        "would send tokens unencrypted to api.artcafe.ai: use https://, "
        "or set allow_cleartext if that network encrypts by itself",
    ),
    ("agent_id", "a\tb", f"{IDS} one that is U+0009"),
    ("agent_id", "a\x1b[2J", f"{IDS} one that is U+001B"),
    ("agent_id", "x" * 129, f"{IDS} 129 characters"),
    ("tenant_id", "x\n", "begins or ends with a blank or a line break: remove it"),
    ("agent_id", "..", "must not be '..': proxies take that out of a path"),
    ("api_endpoint", "'https://host'", "stands in quotes: leave them out"),
    (
        "api_endpoint",
        "https://host/api/v1",
        f"has /api/v1 in its path, which is added to it: leave it out, and what follows: {LIKE_THIS}",
    ),
    ("key_id", "\x7f", f"{IDS} one that is U+007F"),
    ("log_level", "LOUD", "must be one of DEBUG, INFO, WARNING, ERROR, CRITICAL, not 'LOUD'"),
    ("heartbeat_interval", "0", "must be 0.01 to 3,600 seconds, not 0.0"),
    ("heartbeat_interval", "-30", "must be 0.01 to 3,600 seconds, not -30.0"),
    ("heartbeat_interval", "nan", "must be 0.01 to 3,600 seconds, not nan"),
    ("heartbeat_interval", "inf", "must be 0.01 to 3,600 seconds, not inf"),
    ("heartbeat_interval", "30000", "must be 0.01 to 3,600 seconds, not 30000.0"),
    ("private_key_path", "missing", "missing is not there: make it with artcafe keygen missing"),
    ("private_key_path", " ", "is empty: expected a path"),
    ("private_key_path", "key\n", "ends with a line break: remove it"),
    ("ca_file", "-----BEGIN CERTIFICATE-----", "must be the path of a file, not what the file holds"),
    ("private_key_path", ".", ". is a directory: expected a regular file"),
    (
        "private_key_path",
        "-----BEGIN OPENSSH PRIVATE KEY-----secret",
        "must be the path of a file, not what the file holds",
    ),
    ("journal_path", "./key", "is the private_key_path: give the journal a file of its own"),
    ("journal_path", "link", "is the private_key_path: give the journal a file of its own"),
    ("journal_path", "hard-link", "is the private_key_path: give the journal a file of its own"),
    ("journal_path", "exposed", "FOLDER/exposed is open to others (mode 0644): chmod 600 FOLDER/exposed"),
    ("journal_path", "key/journal.db", "FOLDER/key cannot be used as a directory: it is a file"),
    ("client_key_file", "key.pem", "has no effect without client_cert_file, its certificate"),
    ("private_key_path", "secret\nsecret", "must be the path of a file, not what the file holds"),
]


@pytest.mark.parametrize("how", ["flag", "variable", "parameter"])
@pytest.mark.parametrize(("name", "value", "problem"), VALUES, ids=[f"{row[0]}={row[1]!a:.40}" for row in VALUES])
def test_a_bad_setting_is_named_as_it_was_given(
    artcafe_agent: Callable[..., str], folder: Path, how: str, name: str, value: str, problem: str
) -> None:
    problem = problem.replace("FOLDER", str(folder))
    Path("exposed").touch(0o644)
    typed = float(value) if name == "heartbeat_interval" else value
    if typed != typed or typed == float("inf"):  # what has no literal is worked out
        typed = Literal(f"float({value!r})")
    parameters: dict[str, Any] = dict(GOOD)
    match how:
        case "flag":
            assert artcafe_agent(parameters, {}, {name: value}) == f"{flag(name)} {problem}"
        case "variable":
            assert artcafe_agent(parameters, {name: value}, {}) == f"{variable(name)} {problem}"
        case _:
            assert artcafe_agent(parameters | {name: typed}, {}, {}) == f"{name} {problem}"


class Literal(str):
    """A piece of source text."""

    __repr__ = str.__str__


def test_what_is_no_number(artcafe_agent: Callable[..., str]) -> None:
    line = artcafe_agent(GOOD, {"heartbeat_interval": "abc"}, {})
    assert line == "ARTCAFE_HEARTBEAT_INTERVAL must be a number of seconds, not 'abc'"
    line = artcafe_agent(GOOD, {}, {"heartbeat_interval": "abc"})
    line = line.replace('"--', "--").replace('interval"', "interval")  # as older cyclopts quotes a flag
    assert line == 'Invalid value for --heartbeat-interval: unable to convert "abc" into float.'


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ({"max_concurrent": 0}, "max_concurrent must be 1 to 1,000,000, not 0"),
        ({"max_queued": -1}, "max_queued must be 0 to 1,000,000, not -1"),
        ({"drain_timeout": -1.0}, "drain_timeout must be 0.001 to 2,592,000 seconds, not -1.0"),
        ({"max_message_size": 10}, "max_message_size must be 512 to 2,147,483,647, not 10"),
    ],
)
def test_a_bad_setting_of_the_program_is_named(
    artcafe_agent: Callable[..., str], setting: dict[str, Any], problem: str
) -> None:
    assert artcafe_agent(GOOD | setting, {}, {}) == problem


def test_link_6_a_time_to_give_up_after_that_cannot_be_one_is_named(artcafe_agent: Callable[..., str]) -> None:
    line = artcafe_agent(GOOD, {}, {"give_up_after": "-1"})
    assert line == "--give-up-after must be 0.001 to 2,592,000 seconds, not -1.0"
    assert "--give-up-after" in artcafe_agent(GOOD, {}, {"give_up_after": "never"})


@pytest.mark.parametrize("name", ["private_key_path", "ca_file", "client_cert_file"])
def test_an_empty_path_is_refused(artcafe_agent: Callable[..., str], name: str) -> None:
    assert artcafe_agent(GOOD | {name: ""}, {}, {}) == f"{name} is empty: expected a path"


@pytest.mark.parametrize("name", ["agent_id", "tenant_id"])
def test_what_is_missing_is_named_in_every_way_to_give_it(artcafe_agent: Callable[..., str], name: str) -> None:
    rest = {other: value for other, value in GOOD.items() if other != name}
    flag = name.replace("_", "-")
    given = f"give it to Agent, or as --{flag}, or set ARTCAFE_{name.upper()}"
    assert artcafe_agent(rest, {name: ""}, {}) == f"{name} is missing: {given}"


def test_a_flag_goes_before_a_variable_and_what_is_wrong_with_either_is_its_own(
    artcafe_agent: Callable[..., str],
) -> None:
    assert artcafe_agent(GOOD, {"log_level": "LOUD"}, {"log_level": "QUIET"}).startswith("--log-level must be")
    assert artcafe_agent(GOOD, {"log_level": "LOUD"}, {"key_id": "1"}).startswith("ARTCAFE_LOG_LEVEL must be")


# --- key files --------------------------------------------------------------------------------------------------------


def public(path: Path) -> None:
    path.write_bytes(Path("key.pub").read_bytes())


def encrypted(path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")))


def unsuitable(path: Path) -> None:
    path.write_bytes(Ed448PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def dsa_key(path: Path) -> None:
    path.write_bytes(dsa.generate_private_key(1024).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def short(path: Path) -> None:
    key = rsa.generate_private_key(65537, 1024)
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def something_else(path: Path) -> None:
    path.write_bytes(b"\x00secret\xff" * 10)


def too_large(path: Path) -> None:
    path.write_bytes(b"x" * 65_537)


def too_open(path: Path) -> None:
    path.write_bytes(Path("key").read_bytes())
    path.chmod(0o644)


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (public, ": expected a private key, found a public one: give the file without .pub"),
        (encrypted, ": the key is encrypted: give its passphrase, or take it off with ssh-keygen -p"),
        (unsuitable, "found an Ed448 key"),
        (dsa_key, "found a DSA key"),
        (short, "the RSA key has 1024 bits"),
        (something_else, ": expected a private key file"),
        (too_large, " is larger than 65536 bytes: is it the right file?"),
        (too_open, " is open to others (mode 0644): chmod 600 "),
        (fifo, " is no regular file: expected a regular file"),
    ],
)
def test_a_bad_key_file_is_told_with_what_to_do(
    artcafe_agent: Callable[..., str], folder: Path, make: Callable[[Path], None], problem: str
) -> None:
    path = folder / "other"
    path.touch(0o600)
    make(path)
    line = artcafe_agent(GOOD, {}, {"private_key_path": "other"})
    assert line.startswith("--private-key-path other")
    assert problem in line
    assert "secret" not in line


def test_a_key_file_that_may_not_be_read(artcafe_agent: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    real_open = os.open

    def refuse(path: Any, *arguments: Any, **keywords: Any) -> int:
        if path == "key":
            raise PermissionError(13, "Permission denied")
        return real_open(path, *arguments, **keywords)

    monkeypatch.setattr(os, "open", refuse)
    line = artcafe_agent(GOOD, {"private_key_path": "key"}, {})
    assert line == "ARTCAFE_PRIVATE_KEY_PATH key cannot be read: Permission denied"
