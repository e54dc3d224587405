"""What it means when TLS fails, and what to do about it: by OpenSSL's codes and TLS's alerts, not by anybody's wording.

What the platform's certificates say of themselves is told only to people, clipped and escaped: nobody vouches for it.
"""

from __future__ import annotations

import ssl
import sys
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from artcafe_anyio.clocks import read_clocks
from artcafe_proto.readable import text_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cryptography.x509 import Certificate, Name

_NOT_YET_VALID: Final = 9  # OpenSSL's X509_V_ERR_*, here and below
_EXPIRED: Final = 10
_SELF_SIGNED: Final = 18
_SELF_SIGNED_AUTHORITY: Final = 19
_NO_ISSUER: Final = (2, 20, 21)
_OTHER_HOST: Final = (62, 64)
_NOT_TLS: Final = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE")
_TOO_OLD: Final = ("UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_PROTOCOL_VERSION")
OLD_VERSIONS: Final = ("SSLv3", "TLSv1", "TLSv1.1")
"""As `ssl.SSLObject.version` calls them; RFC 8996 has done with them."""
_OF_THE_CLIENTS_CERTIFICATE: Final = (  # RFC 8446 section 6.2
    "BAD_CERTIFICATE",
    "UNSUPPORTED_CERTIFICATE",
    "CERTIFICATE_REVOKED",
    "CERTIFICATE_EXPIRED",
    "CERTIFICATE_UNKNOWN",
    "UNKNOWN_CA",
    "ACCESS_DENIED",
    "DECRYPT_ERROR",
)
_MAX_SHOWN: Final = 80
"""Characters of a name that a certificate says."""
_MAX_NAMES: Final = 4


class UntrustedError(ssl.SSLCertVerificationError):
    """A certificate was refused, and these are those that the peer sent: DER, its own first, nothing of it certain."""

    def __init__(self, code: int, message: str, chain: Sequence[bytes]) -> None:
        super().__init__(message)
        self.verify_code = code
        self.verify_message = message
        self.chain = chain


def explain(error: ssl.SSLError, host: str) -> str:
    """Why there is no TLS with the platform at `host`, and what its operator or the agent's can do."""
    if isinstance(error, ssl.SSLCertVerificationError):
        chain = error.chain if isinstance(error, UntrustedError) else ()
        return _refused(error.verify_code, error.verify_message.rstrip("."), host, _read_all(chain))
    reason = error.reason or text_of(error)
    alert = reason.partition("_ALERT_")[2]
    if reason in _NOT_TLS:
        return f"what answers at {host} does not speak TLS ({reason}): is the port of the endpoint right?"
    if reason in _TOO_OLD:
        return _too_old(host, reason)
    if alert == "CERTIFICATE_REQUIRED":
        return f"{host} requires a client certificate: give the agent's as {_setting('client_cert_file')}"
    if alert == "HANDSHAKE_FAILURE":
        return (
            f"{host} ended the TLS handshake ({reason}): either it requires a client certificate, which is given as "
            f"{_setting('client_cert_file')}, or it has no cipher in common with this computer"
        )
    if alert in _OF_THE_CLIENTS_CERTIFICATE:
        return (
            f"{host} does not accept this agent's client certificate ({reason}): is {_setting('client_cert_file')} "
            "the one that its operator knows, and still valid?"
        )
    return f"TLS with {host} failed: {reason}"


def shortcoming(secured: ssl.SSLObject, host: str) -> str | None:
    """What is missing after a handshake that succeeded: names, or a current version; None if all is well.

    A context of somebody else's may have let it pass, and Windows takes a common name for a name (RFC 9525 section 2).
    """
    try:
        certificate: Mapping[str, Any] = secured.getpeercert() or {}
    except ValueError:  # an alert has ended it meanwhile: nothing can be sent, and why is told with its end
        return None
    if not any(kind in ("DNS", "IP Address") for kind, _ in certificate.get("subjectAltName", ())):
        return _nameless(host)
    version = secured.version()
    return _too_old(host, version) if version in OLD_VERSIONS else None


def _too_old(host: str, why: str) -> str:
    return f"{host} does not speak TLS 1.2 or later ({why}): the platform must be updated"


def _nameless(host: str) -> str:
    return (
        f"the certificate of {host} names no host: a common name does not count, the platform needs a certificate "
        f"with {host} among its subject alternative names"
    )


def _refused(code: int, message: str, host: str, chain: list[_Facts]) -> str:
    now = datetime.fromtimestamp(read_clocks().wall, UTC)  # the computer's, by which TLS has judged
    if code == _EXPIRED:
        late = next((each for each in chain if each.ends < now), None)
        when = f" on {_date(late.ends)}" if late else ""
        whose = _whose(late, host, chain)
        clock = f"this computer's clock ({_date(now)}) is wrong"
        return f"{whose} has expired{when}: the platform must renew it, or {clock}"
    if code == _NOT_YET_VALID:
        early = next((each for each in chain if each.begins > now), None)
        when = f" before {_date(early.begins)}" if early else " yet"
        whose = _whose(early, host, chain)
        return f"{whose} is not valid{when}: this computer's clock ({_date(now)}) is wrong, or the platform's was"
    if code == _SELF_SIGNED:
        return (
            f"the certificate of {host} is self-signed, so nobody vouches for it: the platform needs one of an "
            f"authority; if you are sure that it is the platform's own, give a copy of it as {_setting('ca_file')}"
        )
    if code == _SELF_SIGNED_AUTHORITY:
        who = chain[-1].issuer if chain else "an authority"
        return f"the certificate of {host} was issued by {who}, which is not trusted here: {_trust()}"
    if code in _NO_ISSUER:
        return _no_issuer(host, chain)
    if code in _OTHER_HOST and chain and not chain[0].names:
        return _nameless(host)
    if code in _OTHER_HOST:
        names = f", but for {_listed(chain[0].names)}" if chain else ""
        return f"the certificate of {host} is not for that name{names}: is the endpoint's host right?"
    return f"the certificate of {host} is not accepted: {message} (X509_V_ERR {code})"


def _no_issuer(host: str, chain: list[_Facts]) -> str:
    """An authority that is not known and an intermediate one that was not sent look the same from here."""
    who = chain[-1].issuer if chain else "an authority"
    last = f"the certificate of {host} was issued" if len(chain) < 2 else f"the chain of {host} ends with one issued"
    return (
        f"{last} by {who}, which is neither trusted here nor sent along: if that is an intermediate authority, the "
        f"platform must send its whole chain; if not, {_trust()}"
    )


def _trust() -> str:
    """How an authority becomes a trusted one; on some systems ssl does not see those that the system trusts."""
    store = ""
    if sys.platform in ("darwin", "win32") and find_spec("truststore") is None:
        store = ", and `pip install 'artcafe-proto[tls]'` has this system's own trust store used"
    return f"an authority of your own is trusted by {_setting('ca_file')}{store}"


def _setting(name: str) -> str:
    return f"{name} (--{name.replace('_', '-')}, ARTCAFE_{name.upper()})"


def _whose(which: _Facts | None, host: str, chain: list[_Facts]) -> str:
    of_host = f"the certificate of {host}"
    if which is None:
        return f"a certificate that vouches for {host}" if chain else of_host
    return of_host if which is chain[0] else f"{of_host}'s authority {which.subject}"


def _date(when: datetime) -> str:
    return f"{when:%Y-%m-%d %H:%M} UTC"


def _listed(names: Sequence[str]) -> str:
    more = "" if len(names) <= _MAX_NAMES else f" and {len(names) - _MAX_NAMES} more"
    return ", ".join(map(_shown, names[:_MAX_NAMES])) + more


def _shown(text: str) -> str:
    return ascii(text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}...")


# --- what certificates say --------------------------------------------------------------------------------------------


class _Facts(NamedTuple):
    """What a certificate says of itself; `issuer` and `subject` are fit to be shown."""

    names: list[str]
    issuer: str
    subject: str
    begins: datetime
    ends: datetime


def _read_all(chain: Sequence[bytes]) -> list[_Facts]:
    """None at all if one of them cannot be read: then the explanation does without."""
    from cryptography.x509 import load_der_x509_certificate  # here, not above: most agents never need it

    try:
        return [_read(load_der_x509_certificate(each)) for each in chain]
    except Exception:  # a stranger's bytes: more than ValueError comes of them
        return []


def _read(certificate: Certificate) -> _Facts:
    from cryptography.x509 import DNSName, ExtensionNotFound, IPAddress, SubjectAlternativeName

    names: list[str] = []
    try:
        said = certificate.extensions.get_extension_for_class(SubjectAlternativeName).value
        names = [str(each.value) for each in said if isinstance(each, (DNSName, IPAddress))]
    except ExtensionNotFound:
        pass
    return _Facts(
        names,
        _name(certificate.issuer),
        _name(certificate.subject),
        certificate.not_valid_before_utc,
        certificate.not_valid_after_utc,
    )


def _name(name: Name) -> str:
    from cryptography.x509 import NameOID

    common = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return _shown(str(common[0].value) if common else name.rfc4514_string())
