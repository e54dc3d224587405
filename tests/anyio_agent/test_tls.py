"""TLS of an agent: what is not verified hears nothing, and what is wrong is told so that somebody can fix it."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from anyio_agent.attempts import first_offline
from anyio_agent.fake_platform import PATIENCE_S, FakePlatform
from anyio_agent.tls_server import LAX, TlsServer, server_context
from artcafe_anyio import Agent
from artcafe_anyio.tls import make_ssl_context
from artcafe_anyio.tls_failures import UntrustedError, explain
from artcafe_anyio.transports import TransportOpener
from support.certificates import DAY, TOMORROW, YESTERDAY, Issued, issue

pytestmark = pytest.mark.anyio

TLS_1_1, TLS_1_2, TLS_1_3 = ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
AUTHORITY = issue(common_name="The Authority", is_authority=True)
INTERMEDIATE = issue(common_name="Half Way", is_authority=True, by=AUTHORITY)
OLD_INTERMEDIATE = issue(
    common_name="Half Way", is_authority=True, by=AUTHORITY, begins=YESTERDAY - DAY, ends=YESTERDAY
)
STRANGER = issue(common_name="A Stranger", is_authority=True)
GOOD = issue("localhost", by=AUTHORITY)


@pytest.fixture(scope="module")
def ca_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trust") / "ca.pem"
    path.write_bytes(AUTHORITY.pem)
    return path


@pytest.fixture
def make_agent(key_path: Path, ca_file: Path) -> Callable[..., Agent]:
    """An agent of a platform at this address, which trusts the authority unless it is told otherwise."""

    def make(url: str, **more: Any) -> Agent:
        parameters: dict[str, Any] = {"ca_file": ca_file} | more
        return Agent(agent_id="a", tenant_id="t", private_key_path=key_path, api_endpoint=url, **parameters)

    return make


# --- certificates that are refused ------------------------------------------------------------------------------------


class Bad(NamedTuple):
    """A certificate, and what is said of it, as a regular expression."""

    issued: Issued
    said: str


CLOCK = r"this computer's clock \(20..-..-.. ..:.. UTC\)"
CA_FILE = r"ca_file \(--ca-file, ARTCAFE_CA_FILE\)"
OWN = f"an authority of your own is trusted by {CA_FILE}"
NO_ISSUER = (
    "which is neither trusted here nor sent along: if that is an intermediate authority, the platform must send its "
    f"whole chain; if not, {OWN}"
)
BAD: dict[str, Bad] = {
    "expired": Bad(
        issue("localhost", by=AUTHORITY, begins=YESTERDAY - DAY, ends=YESTERDAY),
        f"the certificate of localhost has expired on {YESTERDAY:%Y-%m-%d %H:%M} UTC: the platform must renew it, or "
        f"{CLOCK} is wrong",
    ),
    "not yet valid": Bad(
        issue("localhost", by=AUTHORITY, begins=TOMORROW, ends=TOMORROW + DAY),
        f"the certificate of localhost is not valid before {TOMORROW:%Y-%m-%d %H:%M} UTC: {CLOCK} is wrong, or the "
        "platform's was",
    ),
    "of an authority that has expired": Bad(
        issue("localhost", by=OLD_INTERMEDIATE, chain=(OLD_INTERMEDIATE,)),
        f"the certificate of localhost's authority 'Half Way' has expired on {YESTERDAY:%Y-%m-%d %H:%M} UTC: .*",
    ),
    "self-signed": Bad(
        issue("localhost"),
        "the certificate of localhost is self-signed, so nobody vouches for it: the platform needs one of an "
        f"authority; if you are sure that it is the platform's own, give a copy of it as {CA_FILE}",
    ),
    "of an unknown authority": Bad(
        issue("localhost", by=STRANGER, chain=(STRANGER,)),
        f"the certificate of localhost was issued by 'A Stranger', which is not trusted here: {OWN}",
    ),
    "of an unknown authority, not sent": Bad(
        issue("localhost", by=STRANGER), f"the certificate of localhost was issued by 'A Stranger', {NO_ISSUER}"
    ),
    "without its chain": Bad(
        issue("localhost", by=INTERMEDIATE), f"the certificate of localhost was issued by 'Half Way', {NO_ISSUER}"
    ),
    "with half its chain": Bad(
        issue("localhost", by=(half := issue(is_authority=True, by=INTERMEDIATE)), chain=(half,)),
        f"the chain of localhost ends with one issued by 'Half Way', {NO_ISSUER}",
    ),
    "of other hosts": Bad(
        issue(*(f"{number}.example" for number in range(6)), common_name="localhost", by=AUTHORITY),
        "the certificate of localhost is not for that name, but for '0.example', '1.example', '2.example', "
        "'3.example' and 2 more: is the endpoint's host right\\?",
    ),
    "of a common name": Bad(
        issue(common_name="localhost", by=AUTHORITY),
        "the certificate of localhost names no host: a common name does not count, the platform needs a certificate "
        "with localhost among its subject alternative names",
    ),
    "of somebody who is no authority": Bad(
        issue("localhost", by=(nobody := issue(by=AUTHORITY)), chain=(nobody,)),
        r"the certificate of localhost is not accepted: invalid CA certificate \(X509_V_ERR 79\)",
    ),
}


@pytest.mark.parametrize("version", [TLS_1_2, TLS_1_3], ids=lambda version: version.name)
@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
async def test_tok_4_a_certificate_that_is_refused_is_explained_and_hears_nothing(
    bad: Bad, version: ssl.TLSVersion, make_agent: Callable[..., Agent], tmp_path: Path
) -> None:
    server = TlsServer(server_context(tmp_path, bad.issued, version=version))
    with server.listening() as url:
        offline = await first_offline(make_agent(url))
    assert re.fullmatch(rf"cannot connect \(tls\): {bad.said}", offline.reason)
    assert offline.clause == "LINK-3"
    assert (server.connections, server.received) == (1, b"")


async def test_a_name_is_no_address(make_agent: Callable[..., Agent], tmp_path: Path) -> None:
    server = TlsServer(server_context(tmp_path, GOOD))
    with server.listening() as url:
        offline = await first_offline(make_agent(url.replace("localhost", "127.0.0.1")))
    assert offline.reason == (
        "cannot connect (tls): the certificate of 127.0.0.1 is not for that name, but for 'localhost': is the "
        "endpoint's host right?"
    )
    assert (server.connections, server.received) == (1, b"")


async def test_what_is_trusted_hears_the_agent(make_agent: Callable[..., Agent], tmp_path: Path) -> None:
    """The server of these tests would have kept what it must not get."""
    server = TlsServer(server_context(tmp_path, GOOD))
    with server.listening() as url:
        await first_offline(make_agent(url))
    assert server.received.startswith(b"POST /api/v1/auth/challenge HTTP/1.1\r\n")


async def test_a_self_signed_certificate_can_be_trusted(
    make_agent: Callable[..., Agent], key: Ed25519PrivateKey, tmp_path: Path
) -> None:
    own = issue("localhost", common_name="localhost")
    platform = FakePlatform(key.public_key())
    async with (
        platform.listening(server_context(tmp_path, own)) as url,
        make_agent(url, ca_file=tmp_path / "server.pem"),
    ):
        await platform.link()


async def test_a_context_of_ones_own_takes_no_common_name_either(
    make_agent: Callable[..., Agent], ca_file: Path, tmp_path: Path
) -> None:
    own = ssl.create_default_context(cafile=ca_file)
    assert own.hostname_checks_common_name
    server = TlsServer(server_context(tmp_path, issue(common_name="localhost", by=AUTHORITY)))
    with server.listening() as url:
        offline = await first_offline(make_agent(url, ca_file=None, ssl_context=own))
    assert "the certificate of localhost names no host: a common name does not count" in offline.reason
    assert (server.connections, server.received) == (1, b"")


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
async def test_a_context_of_ones_own_speaks_nothing_older_either(
    make_agent: Callable[..., Agent], ca_file: Path, tmp_path: Path
) -> None:
    own = ssl.create_default_context(cafile=ca_file)
    own.set_ciphers(LAX)
    own.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    server = TlsServer(server_context(tmp_path, GOOD, version=TLS_1_1))
    with server.listening() as url:
        offline = await first_offline(make_agent(url, ca_file=None, ssl_context=own))
    assert offline.reason == (
        "cannot connect (tls): localhost does not speak TLS 1.2 or later (TLSv1.1): the platform must be updated"
    )
    assert (server.connections, server.received) == (1, b"")


async def test_a_context_of_ones_own_says_less(make_agent: Callable[..., Agent], ca_file: Path, tmp_path: Path) -> None:
    for bad, said in {
        "expired": "the certificate of localhost has expired: the platform must renew it, or ",
        "not yet valid": "the certificate of localhost is not valid yet: ",
        "without its chain": "the certificate of localhost was issued by an authority, which is neither trusted here ",
        "of an unknown authority": "the certificate of localhost was issued by an authority, which is not trusted",
        "of other hosts": "the certificate of localhost is not for that name: is the endpoint's host right?",
    }.items():
        server = TlsServer(server_context(tmp_path, BAD[bad].issued))
        own = ssl.create_default_context(cafile=ca_file)
        with server.listening() as url:
            offline = await first_offline(make_agent(url, ca_file=None, ssl_context=own))
        assert offline.reason.startswith(f"cannot connect (tls): {said}")
        assert server.received == b""


def test_what_certificates_say_is_shown_clipped_and_escaped() -> None:
    strange = issue(f"{'x' * 200}.example", common_name="\x1b[2Jevil\n")
    message = explain(UntrustedError(20, "", [strange.certificate.public_bytes(Encoding.DER)]), "localhost")
    assert r"issued by '\x1b[2Jevil\n', which" in message
    message = explain(UntrustedError(62, "", [strange.certificate.public_bytes(Encoding.DER)]), "localhost")
    assert f"but for '{'x' * 80}...':" in message


def test_a_certificate_that_cannot_be_read_is_explained_without_it() -> None:
    said = explain(UntrustedError(10, "certificate has expired", [b"\x30\x00"]), "localhost")
    assert said.startswith("the certificate of localhost has expired: the platform must renew it")


def test_a_refusal_without_a_text_of_ours_is_told_by_openssls() -> None:
    said = explain(UntrustedError(23, "certificate revoked", []), "localhost")
    assert said == "the certificate of localhost is not accepted: certificate revoked (X509_V_ERR 23)"


# --- servers that speak something else --------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
@pytest.mark.parametrize("lax", [False, True])
async def test_tls_before_1_2(
    lax: bool, make_agent: Callable[..., Agent], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the machine's OpenSSL is told: here, by a stand-in for its configuration, to take everything."""
    usual = ssl.create_default_context

    def laxer(*arguments: Any, **more: Any) -> ssl.SSLContext:
        context = usual(*arguments, **more)
        context.set_ciphers(LAX)
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        return context

    if lax:
        monkeypatch.setattr(ssl, "create_default_context", laxer)
    server = TlsServer(server_context(tmp_path, GOOD, version=TLS_1_1))
    with server.listening() as url:
        offline = await first_offline(make_agent(url))
    assert offline.reason == (
        "cannot connect (tls): localhost does not speak TLS 1.2 or later (TLSV1_ALERT_PROTOCOL_VERSION): the platform "
        "must be updated"
    )
    assert (server.refusals, server.received) == (["UNSUPPORTED_PROTOCOL"], b"")


async def serve_one(handle: Callable[[SocketStream], Any], agent_of: Callable[[str], Agent]) -> str:
    """What the agent says of a server that has this to say."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, handle)
        offline = await first_offline(agent_of(f"https://localhost:{listener.extra(SocketAttribute.local_port)}"))
        tasks.cancel_scope.cancel()
        return offline.reason
    raise AssertionError


async def test_a_server_that_does_not_speak_tls(make_agent: Callable[..., Agent]) -> None:
    async def refuse(stream: SocketStream) -> None:
        async with stream:
            await stream.receive()
            await stream.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    assert await serve_one(refuse, make_agent) == (
        "cannot connect (tls): what answers at localhost does not speak TLS (WRONG_VERSION_NUMBER): is the port of the "
        "endpoint right?"
    )


async def test_a_server_that_hangs_up_during_the_handshake(make_agent: Callable[..., Agent]) -> None:
    async def hang_up(stream: SocketStream) -> None:
        await stream.receive()
        await stream.aclose()

    said = await serve_one(hang_up, make_agent)
    assert said == "cannot connect (tls): the connection ended during the TLS handshake"


async def test_stopping_during_a_handshake(make_agent: Callable[..., Agent]) -> None:
    begun, ended = anyio.Event(), anyio.Event()

    async def wait(stream: SocketStream) -> None:
        async with stream:
            await stream.receive()
            begun.set()
            with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                await stream.receive()
            ended.set()

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, wait)
        with anyio.fail_after(PATIENCE_S):
            async with make_agent(f"https://localhost:{listener.extra(SocketAttribute.local_port)}"):
                await begun.wait()
            await ended.wait()
        tasks.cancel_scope.cancel()


# --- client certificates ----------------------------------------------------------------------------------------------

CLIENTS = issue(common_name="Of Clients", is_authority=True)
CLIENT_CERT_FILE = "client_cert_file (--client-cert-file, ARTCAFE_CLIENT_CERT_FILE)"


@pytest.mark.parametrize("version", [TLS_1_2, TLS_1_3], ids=lambda version: version.name)
async def test_a_client_certificate_that_is_required(
    version: ssl.TLSVersion, make_agent: Callable[..., Agent], key: Ed25519PrivateKey, tmp_path: Path
) -> None:
    platform = FakePlatform(key.public_key())
    context = server_context(tmp_path, GOOD, version=version, client_authority=CLIENTS)
    cert_file, key_file = issue(by=CLIENTS).write(tmp_path, "client", b"a passphrase")
    passphrase_file = tmp_path / "passphrase"
    passphrase_file.touch(mode=0o600)
    passphrase_file.write_text("a passphrase\n")
    client = {"client_cert_file": cert_file, "client_key_file": key_file, "key_passphrase_file": passphrase_file}
    async with platform.listening(context) as url, make_agent(url, **client):
        await platform.link()
    assert platform.connections == 1


MISSING = {
    TLS_1_2: "cannot connect (tls): localhost ended the TLS handshake (SSLV3_ALERT_HANDSHAKE_FAILURE): either it "
    f"requires a client certificate, which is given as {CLIENT_CERT_FILE}, or it has no cipher in common with this "
    "computer",
    TLS_1_3: f"localhost requires a client certificate: give the agent's as {CLIENT_CERT_FILE}",
}


@pytest.mark.parametrize("version", MISSING, ids=lambda version: version.name)
async def test_a_client_certificate_that_is_required_and_missing(
    version: ssl.TLSVersion, make_agent: Callable[..., Agent], tmp_path: Path
) -> None:
    """With TLS 1.3 the client's side of the handshake is over when it is told (RFC 8446 section 4.4.2.4)."""
    server = TlsServer(server_context(tmp_path, GOOD, version=version, client_authority=CLIENTS))
    with server.listening() as url:
        offline = await first_offline(make_agent(url))
    assert offline.reason.endswith(MISSING[version])
    assert server.refusals[0] == "PEER_DID_NOT_RETURN_A_CERTIFICATE"


async def test_what_is_told_before_the_agent_has_begun_to_listen(
    make_agent: Callable[..., Agent], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shake_hands = TransportOpener.start_tls

    async def slowly(opener: TransportOpener, connection: socket.socket, host: str) -> asyncio.Transport:
        secured = await shake_hands(opener, connection, host)
        await opener._connection._over.wait()  # pyright: ignore[reportPrivateUsage]
        return secured

    monkeypatch.setattr(TransportOpener, "start_tls", slowly)
    server = TlsServer(server_context(tmp_path, GOOD, version=TLS_1_3, client_authority=CLIENTS))
    with server.listening() as url:
        offline = await first_offline(make_agent(url))
    assert offline.reason.endswith(MISSING[TLS_1_3])


@pytest.mark.parametrize("version", [TLS_1_2, TLS_1_3], ids=lambda version: version.name)
@pytest.mark.parametrize(
    ("issued", "alert"),
    [
        (issue(by=STRANGER), "TLSV1_ALERT_UNKNOWN_CA"),
        (issue(by=CLIENTS, begins=YESTERDAY - DAY, ends=YESTERDAY), "SSLV3_ALERT_CERTIFICATE_EXPIRED"),
    ],
    ids=["of a stranger", "expired"],
)
async def test_a_client_certificate_that_the_platform_refuses(
    version: ssl.TLSVersion, issued: Issued, alert: str, make_agent: Callable[..., Agent], tmp_path: Path
) -> None:
    server = TlsServer(server_context(tmp_path, GOOD, version=version, client_authority=CLIENTS))
    cert_file, key_file = issued.write(tmp_path, "client")
    with server.listening() as url:
        offline = await first_offline(make_agent(url, client_cert_file=cert_file, client_key_file=key_file))
    assert offline.reason.endswith(
        f"localhost does not accept this agent's client certificate ({alert}): is {CLIENT_CERT_FILE} the one that its "
        "operator knows, and still valid?"
    )


# --- the system's authorities -----------------------------------------------------------------------------------------


async def test_the_systems_authorities_are_those_of_ssl_cert_file(
    make_agent: Callable[..., Agent],
    key: Ed25519PrivateKey,
    ca_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(ca_file))
    platform = FakePlatform(key.public_key())
    async with platform.listening(server_context(tmp_path, GOOD)) as url, make_agent(url, ca_file=None):
        await platform.link()


async def test_truststore_is_asked_where_openssl_does_not_see_what_the_system_trusts(
    make_agent: Callable[..., Agent], key: Ed25519PrivateKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the system says then is truststore's matter; here, where it asks OpenSSL, it serves every event loop."""
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr("sys.platform", "darwin")
        for variable in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
            elsewhere.delenv(variable, raising=False)
        context = make_ssl_context()
    assert type(context).__module__.startswith("truststore")
    assert (context.minimum_version, context.verify_mode) == (TLS_1_2, ssl.CERT_REQUIRED)
    context.load_verify_locations(cadata=AUTHORITY.pem.decode())
    platform = FakePlatform(key.public_key())
    own = {"ca_file": None, "ssl_context": context}
    async with platform.listening(server_context(tmp_path, GOOD)) as url, make_agent(url, **own):
        await platform.link()


async def test_a_large_command_over_tls(
    make_agent: Callable[..., Agent], key: Ed25519PrivateKey, tmp_path: Path
) -> None:
    platform = FakePlatform(key.public_key())
    async with platform.listening(server_context(tmp_path, GOOD)) as url:
        agent = make_agent(url)
        agent.command("echo", inline=True)(lambda text: text)  # pyright: ignore
        async with agent:
            link = await platform.link()
            assert (await link.call("echo", {"text": "x" * 200_000}))["result"] == "x" * 200_000
        assert await link.wait_closed() == 1000
    assert platform.connections == 1
