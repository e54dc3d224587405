"""TLS: who is trusted, who is not and what is said then, and that nothing is sent before that is certain (TOK-4)."""

from __future__ import annotations

import os
import socket
import ssl
import sys
import threading
import warnings
from collections.abc import Generator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import anyio
import pytest
import trustme
from anyio.abc import SocketAttribute, SocketStream
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from anyio_agent.fake_platform import PATIENCE_S, FakePlatform
from artcafe_anyio import Agent
from artcafe_anyio.tls import make_ssl_context
from artcafe_proto import AgentEvent, ConfigError, Offline

pytestmark = pytest.mark.anyio

NOW = datetime.now(UTC)
YEAR = timedelta(days=365)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


def server_context(cert: trustme.LeafCert) -> ssl.SSLContext:
    """A platform that shows this certificate."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    cert.configure_cert(context)  # pyright: ignore[reportUnknownMemberType]
    return context


async def first_offline(agent: Agent) -> Offline:
    """Run `agent` until its first attempt has failed."""
    failures: list[Offline] = []

    @agent.on_event
    def note(event: AgentEvent) -> None:  # pyright: ignore[reportUnusedFunction]
        if isinstance(event, Offline):
            failures.append(event)
            agent.stop()

    with anyio.fail_after(PATIENCE_S):
        await agent.serve()
    return failures[0]


class Overheard:
    """A platform that says nothing inside of TLS, and what came to it there. In a thread of its own, for OpenSSL itself
    sends its alerts only where it has the socket.
    """

    def __init__(self) -> None:
        self.data = b""
        self.url = ""

    @contextmanager
    def listening(self, context: ssl.SSLContext) -> Generator[None]:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.url = f"https://localhost:{listener.getsockname()[1]}"
            thread = threading.Thread(target=self._attend, args=(listener, context))
            thread.start()
            try:
                yield
            finally:
                listener.shutdown(socket.SHUT_RDWR)
                thread.join()

    def _attend(self, listener: socket.socket, context: ssl.SSLContext) -> None:
        with suppress(OSError):  # until nobody listens
            while True:
                sock = listener.accept()[0]
                with sock, suppress(OSError):  # ssl.SSLError is one
                    sock.settimeout(PATIENCE_S)
                    try:
                        secured = context.wrap_socket(sock.dup(), server_side=True)
                        with secured:
                            self.data += secured.recv(1000)
                    finally:
                        sock.shutdown(socket.SHUT_WR)
                        while sock.recv(1000):  # else an alert would be lost by a reset
                            pass


# --- certificates that are not accepted -------------------------------------------------------------------------------


class Made(NamedTuple):
    """A certificate made by hand, for what no authority would issue."""

    cert: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def write(self, path: Path) -> Path:
        """To a PEM file, with its key."""
        encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        key = self.key.private_bytes(encoding, form, serialization.NoEncryption())
        path.write_bytes(self.cert.public_bytes(encoding) + key)
        return path


def made(*, common_name: str, issuer: Made | None = None, is_authority: bool = False, name: str | None = None) -> Made:
    """A certificate by `issuer`, or self-signed; for the host `name`, if given."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])
    builder = x509.CertificateBuilder().subject_name(subject).public_key(key.public_key()).serial_number(7)
    builder = builder.issuer_name(subject if issuer is None else issuer.cert.subject)
    builder = builder.not_valid_before(NOW - YEAR).not_valid_after(NOW + YEAR)
    builder = builder.add_extension(x509.BasicConstraints(is_authority, None), critical=True)
    if name is not None:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    return Made(builder.sign(key if issuer is None else issuer.key, hashes.SHA256()), key)


def by_hand(folder: Path, shown: Made, trusted: Made) -> tuple[ssl.SSLContext, Path]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(shown.write(folder / "shown.pem"))
    path = folder / "trusted.pem"
    path.write_bytes(trusted.cert.public_bytes(serialization.Encoding.PEM))
    return context, path


def showing(cert: trustme.LeafCert, *others: trustme.Blob) -> ssl.SSLContext:
    """A platform that shows the certificate and these, whatever its chain is."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    chain = trustme.Blob(b"".join(each.bytes() for each in (cert.cert_chain_pems[0], *others)))
    with chain.tempfile() as shown, cert.private_key_pem.tempfile() as key:
        context.load_cert_chain(shown, key)
    return context


def refused(case: str, authority: trustme.CA, ca_file: Path) -> tuple[ssl.SSLContext, Path]:
    """A platform of the kind, and the authority that its agent trusts."""
    match case:
        case "expired":
            return server_context(authority.issue_cert("localhost", not_after=NOW - timedelta(days=1))), ca_file
        case "not valid yet":
            return server_context(authority.issue_cert("localhost", not_before=NOW + timedelta(days=1))), ca_file
        case "self-signed":
            return by_hand(ca_file.parent, made(common_name="localhost", name="localhost"), made(common_name="other"))
        case "another authority":
            stranger = trustme.CA()
            return showing(stranger.issue_cert("localhost"), stranger.cert_pem), ca_file
        case "an incomplete chain":
            return showing(authority.create_child_ca().issue_cert("localhost")), ca_file
        case "another host":
            return server_context(authority.issue_cert("other.example")), ca_file
        case "another address":
            return server_context(authority.issue_cert("localhost")), ca_file
        case "a common name":
            root = made(common_name="root", is_authority=True)
            return by_hand(ca_file.parent, made(common_name="localhost", issuer=root), root)
        case _:
            raise AssertionError(case)


REFUSALS = {
    "expired": "it has expired; its operator has to renew it, or this machine's clock is wrong",
    "not valid yet": "it is not valid yet; is this machine's clock right?",
    "self-signed": "it is self-signed, so nobody vouches for it; ca_file or SSL_CERT_FILE can name it as one to trust",
    "another authority": "its authority is not trusted here; ca_file or SSL_CERT_FILE can name it as one to trust",
    "an incomplete chain": (
        "no certificate of its issuer is known here: ca_file or SSL_CERT_FILE can name the authority; if it is a "
        "public one, the platform leaves out an intermediate certificate, which its operator has to add"
    ),
    "another host": "it is not for localhost; is the host of api_endpoint the one that its operator names?",
    "another address": "it is not for the address 127.0.0.1; is there a host name in it to use in api_endpoint?",
    "a common name": "it is not for localhost; is the host of api_endpoint the one that its operator names?",
}


@pytest.mark.parametrize("case", REFUSALS)
async def test_tok_4_what_is_wrong_with_a_certificate_is_said_and_nothing_is_sent(
    case: str, authority: trustme.CA, ca_file: Path, key_path: Path
) -> None:
    context, trusted = refused(case, authority, ca_file)
    platform = Overheard()
    with platform.listening(context):
        url = platform.url.replace("localhost", "127.0.0.1") if case == "another address" else platform.url
        agent = Agent(agent_id="a", tenant_id="t", private_key_path=key_path, api_endpoint=url, ca_file=trusted)
        offline = await first_offline(agent)
    assert offline.reason == f"cannot connect (tls): the platform's certificate is not accepted: {REFUSALS[case]}"
    assert platform.data == b""


async def test_what_comes_to_a_platform_that_is_accepted_would_have_been_seen(
    authority: trustme.CA, ca_file: Path, key_path: Path
) -> None:
    platform = Overheard()
    with platform.listening(server_context(authority.issue_cert("localhost"))):
        agent = Agent(agent_id="a", tenant_id="t", private_key_path=key_path, ca_file=ca_file)
        assert "cannot connect" not in (await first_offline(agent.configured(api_endpoint=platform.url))).reason
    assert platform.data.startswith(b"POST /api/v1/auth/challenge HTTP/1.1\r\n")


async def test_a_platform_that_speaks_an_older_tls_only(authority: trustme.CA, ca_file: Path, key_path: Path) -> None:
    context = server_context(authority.issue_cert("localhost"))
    context.set_ciphers("DEFAULT@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that is the point
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    platform = Overheard()
    with platform.listening(context):
        agent = Agent(agent_id="a", tenant_id="t", private_key_path=key_path, ca_file=ca_file)
        offline = await first_offline(agent.configured(api_endpoint=platform.url))
    assert "cannot connect (tls): TLS failed: " in offline.reason
    assert offline.reason.endswith(": the platform speaks no TLS of version 1.2 or later")
    assert platform.data == b""


async def test_a_server_that_does_not_speak_tls(ca_file: Path, key_path: Path) -> None:
    async def refuse(stream: SocketStream) -> None:
        async with stream:
            await stream.receive()
            await stream.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, refuse)
        endpoint = f"https://127.0.0.1:{listener.extra(SocketAttribute.local_port)}"
        agent = Agent(agent_id="a", tenant_id="t", private_key_path=key_path, api_endpoint=endpoint, ca_file=ca_file)
        offline = await first_offline(agent)
        assert offline.reason == "cannot connect (tls): TLS failed: WRONG_VERSION_NUMBER: does that port speak TLS?"
        tasks.cancel_scope.cancel()


async def test_a_server_that_hangs_up_during_the_handshake(ca_file: Path, key_path: Path) -> None:
    async def hang_up(stream: SocketStream) -> None:
        await stream.receive()
        await stream.aclose()

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, hang_up)
        endpoint = f"https://127.0.0.1:{listener.extra(SocketAttribute.local_port)}"
        agent = Agent(agent_id="a", tenant_id="t", private_key_path=key_path, api_endpoint=endpoint, ca_file=ca_file)
        offline = await first_offline(agent)
        assert offline.reason == "cannot connect (tls): the connection ended during the TLS handshake"
        tasks.cancel_scope.cancel()


async def test_stopping_during_a_handshake(ca_file: Path, key_path: Path) -> None:
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
        endpoint = f"https://127.0.0.1:{listener.extra(SocketAttribute.local_port)}"
        agent = Agent(agent_id="a", tenant_id="t", private_key_path=key_path, api_endpoint=endpoint, ca_file=ca_file)
        with anyio.fail_after(PATIENCE_S):
            async with agent:
                await begun.wait()
            await ended.wait()
        tasks.cancel_scope.cancel()


# --- whom it trusts ---------------------------------------------------------------------------------------------------


async def test_an_agent_over_tls(authority: trustme.CA, ca_file: Path, key: Ed25519PrivateKey, key_path: Path) -> None:
    platform = FakePlatform(key.public_key())
    agent = Agent(agent_id="a", tenant_id="t", private_key_path=key_path, ca_file=ca_file)
    agent.command("echo", inline=True)(lambda text: text)  # pyright: ignore
    async with platform.listening(server_context(authority.issue_cert("localhost"))) as url:
        async with agent.configured(api_endpoint=url):
            link = await platform.link()
            assert (await link.call("echo", {"text": "x" * 200_000}))["result"] == "x" * 200_000
        assert await link.wait_closed() == 1000
    assert platform.connections == 1


@pytest.mark.parametrize("store", ["truststore", "OpenSSL"])
@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
async def test_the_variables_of_openssl_name_whom_to_trust(
    authority: trustme.CA,
    ca_file: Path,
    key: Ed25519PrivateKey,
    key_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    store: str,
) -> None:
    if store == "OpenSSL":
        monkeypatch.setitem(sys.modules, "truststore", None)
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    if variable == "SSL_CERT_DIR":  # OpenSSL finds a certificate in it by the hash of its subject
        folder = ca_file.parent / "certs"
        folder.mkdir()
        subject_hash = await anyio.run_process(["openssl", "x509", "-noout", "-subject_hash", "-in", str(ca_file)])
        authority.cert_pem.write_to_path(str(folder / f"{subject_hash.stdout.decode().strip()}.0"))
        monkeypatch.setenv(variable, str(folder))
    else:
        monkeypatch.setenv(variable, str(ca_file))
    platform = FakePlatform(key.public_key())
    agent = Agent(agent_id="a", tenant_id="t", private_key_path=key_path)
    context = server_context(authority.issue_cert("localhost"))
    async with platform.listening(context) as url, agent.configured(api_endpoint=url):
        await platform.link()


def test_the_system_s_store_is_asked_where_there_is_a_way_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    asked: list[int] = []

    class Context(ssl.SSLContext):
        def __new__(cls, protocol: int) -> Context:
            asked.append(protocol)
            return super().__new__(cls, protocol)

    stand_in = ModuleType("truststore")
    stand_in.SSLContext = Context  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "truststore", stand_in)
    assert isinstance(make_ssl_context(), Context)
    assert asked == [ssl.PROTOCOL_TLS_CLIENT]
    monkeypatch.setitem(sys.modules, "truststore", None)
    assert not isinstance(make_ssl_context(), Context)


@pytest.mark.parametrize("store", ["truststore", "OpenSSL", "ca_file"])
def test_what_is_asked_of_tls(ca_file: Path, monkeypatch: pytest.MonkeyPatch, store: str) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    if store == "OpenSSL":
        monkeypatch.setitem(sys.modules, "truststore", None)
    context = make_ssl_context(str(ca_file) if store == "ca_file" else None)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert not context.hostname_checks_common_name
    assert store != "ca_file" or len(context.get_ca_certs()) == 1


def test_a_file_that_holds_no_certificates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"^ca_file .*missing.pem is no PEM file of certificates: No such file"):
        make_ssl_context(str(tmp_path / "missing.pem"))
    (tmp_path / "empty.pem").touch()
    with pytest.raises(ConfigError, match=r"^ca_file .*empty.pem is no PEM file of certificates"):
        make_ssl_context(str(tmp_path / "empty.pem"))
    os.mkfifo(tmp_path / "fifo.pem")
    with pytest.raises(ConfigError, match=r"fifo.pem is no PEM file of certificates: it is no regular file"):
        make_ssl_context(str(tmp_path / "fifo.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "missing.pem"))
    with pytest.raises(ConfigError, match=r"^SSL_CERT_FILE .*missing.pem is no PEM file of certificates: No such file"):
        make_ssl_context()


# --- how it shows itself ----------------------------------------------------------------------------------------------


class ClientFiles(NamedTuple):
    """An agent's own certificate, as files: with its key, without, the key alone, and that encrypted."""

    both: Path
    cert: Path
    key: Path
    locked_key: Path


@pytest.fixture
def client(authority: trustme.CA, tmp_path: Path) -> ClientFiles:
    cert = authority.issue_cert("agent.example")
    names = ("client.pem", "client.crt", "client.key", "locked.key")
    files = ClientFiles(*(tmp_path / name for name in names))
    for path in files:
        path.touch(mode=0o600)
    pem = b"".join(each.bytes() for each in cert.cert_chain_pems)
    files.both.write_bytes(pem + cert.private_key_pem.bytes())
    files.cert.write_bytes(pem)
    files.key.write_bytes(cert.private_key_pem.bytes())
    loaded = serialization.load_pem_private_key(cert.private_key_pem.bytes(), None)
    form, encryption = serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"secret")
    files.locked_key.write_bytes(loaded.private_bytes(serialization.Encoding.PEM, form, encryption))
    return files


def asking_context(authority: trustme.CA) -> ssl.SSLContext:
    """A platform that takes nobody without a certificate."""
    context = server_context(authority.issue_cert("localhost"))
    context.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(context)  # pyright: ignore[reportUnknownMemberType]
    return context


@pytest.mark.parametrize("files", ["one", "two", "encrypted"])
async def test_a_client_certificate_is_shown_to_whom_asks_for_one(
    authority: trustme.CA, ca_file: Path, client: ClientFiles, key: Ed25519PrivateKey, key_path: Path, files: str
) -> None:
    agent = Agent(agent_id="a", tenant_id="t", private_key_path=key_path, ca_file=ca_file)
    match files:
        case "one":
            agent = agent.configured(client_cert_file=client.both)
        case "two":
            agent = agent.configured(client_cert_file=client.cert, client_key_file=client.key)
        case _:
            agent = agent.configured(
                client_cert_file=client.cert, client_key_file=client.locked_key, passphrase=lambda _path: "secret"
            )
    platform = FakePlatform(key.public_key())
    async with platform.listening(asking_context(authority)) as url, agent.configured(api_endpoint=url):
        await platform.link()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
async def test_without_one_it_says_what_is_missing(
    authority: trustme.CA, ca_file: Path, key_path: Path, version: ssl.TLSVersion
) -> None:
    context = asking_context(authority)
    context.maximum_version = version
    platform = Overheard()
    with platform.listening(context):
        agent = Agent(agent_id="a", tenant_id="t", private_key_path=key_path, ca_file=ca_file)
        offline = await first_offline(agent.configured(api_endpoint=platform.url))
    assert "client_cert_file names" in offline.reason
    assert platform.data == b""


async def test_one_that_the_platform_does_not_trust_is_said_so(
    authority: trustme.CA, ca_file: Path, key_path: Path, tmp_path: Path
) -> None:
    stranger = trustme.CA().issue_cert("agent.example")
    file = tmp_path / "stranger.pem"
    file.touch(mode=0o600)
    file.write_bytes(stranger.private_key_and_cert_chain_pem.bytes())
    platform = Overheard()
    with platform.listening(asking_context(authority)):
        agent = Agent(agent_id="a", tenant_id="t", private_key_path=key_path, ca_file=ca_file, client_cert_file=file)
        offline = await first_offline(agent.configured(api_endpoint=platform.url))
    assert offline.reason.endswith(": the platform does not accept the certificate in client_cert_file")
    assert platform.data == b""


def test_a_client_certificate_that_is_of_no_use_is_refused(
    authority: trustme.CA, client: ClientFiles, tmp_path: Path
) -> None:
    def problem(cert: Path, key: Path | None = None, passphrase: str | None = None) -> str:
        with pytest.raises(ConfigError) as refused:
            make_ssl_context(
                client_cert_file=str(cert),
                client_key_file=None if key is None else str(key),
                passphrase=None if passphrase is None else lambda _path: passphrase,
            )
        return str(refused.value).replace(str(tmp_path), "")

    other = tmp_path / "other.crt"
    authority.issue_cert("other.example").cert_chain_pems[0].write_to_path(str(other))
    unusable = "holds no certificate with its key in PEM, or the passphrase is wrong"
    assert problem(client.cert) == f"client_cert_file /client.crt {unusable}"
    assert problem(client.cert, client.locked_key, "wrong") == f"client_cert_file /client.crt {unusable}"
    assert problem(client.cert, client.locked_key) == (
        "client_key_file /locked.key is encrypted: give passphrase or key_passphrase_file, or decrypt it with "
        "openssl pkey"
    )
    assert problem(other, client.key) == "client_cert_file /other.crt is not the certificate of the key in /client.key"
    assert problem(client.cert, tmp_path / "none") == "client_key_file /none is not there"
    missing = "client_cert_file /none cannot be read: No such file or directory"
    assert problem(tmp_path / "none", client.key) == missing
    client.key.chmod(0o640)
    assert problem(client.cert, client.key).startswith("client_key_file /client.key is open to others (mode 0640)")
    client.both.chmod(0o644)
    assert problem(client.both).startswith("client_cert_file /client.pem is open to others (mode 0644)")


@pytest.mark.parametrize(
    ("parameters", "problem"),
    [
        ({"client_key_file": "key.pem"}, "client_key_file has no effect without client_cert_file, its certificate"),
        (
            {"client_cert_file": "cert.pem", "ssl_context": ssl.create_default_context()},
            "client_cert_file has no effect on an ssl_context of your own: load it there",
        ),
    ],
)
def test_what_has_no_effect_is_refused(parameters: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Agent(agent_id="a", tenant_id="t", **parameters)
    assert str(refused.value) == problem
