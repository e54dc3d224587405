"""Errors, and whose fault they are.

Every error raised on purpose derives from `ArtCafeError`. The two branches answer the first question of anyone who
reads a traceback: did I misuse the library, or did the other side misbehave? No message of either carries a token,
a key, a challenge or a signature (TOK-4).
"""

from __future__ import annotations

from artcafe_proto.readable import one_line

__all__ = [
    "ArtCafeError", "LocalProtocolError", "ConfigError", "OutboxFullError", "RemoteProtocolError", "ApiError",
    "KeyRefusedError", "PassphraseNeededError", "SigningRefusedError",
]  # fmt: skip


class ArtCafeError(Exception):
    """Base of every error this project raises on purpose. Its text is fit to be shown, whatever a peer has said."""

    def __str__(self) -> str:
        return one_line(super().__str__())


class LocalProtocolError(ArtCafeError):
    """You called the library in a way it does not allow. Nothing has changed; fix the call."""


class ConfigError(LocalProtocolError):
    """A setting is missing or impossible. The message names it, what was expected and what to do.

    `setting` is the name alone, empty if none is at fault, and `problem` the rest: whoever knows how the setting was
    given, as a flag or a variable, can say it again in those words.
    """

    def __init__(self, problem: str, *, setting: str = "") -> None:
        super().__init__(f"{setting} {problem}" if setting else problem)
        self.setting = setting
        self.problem = problem


class OutboxFullError(LocalProtocolError):
    """The bounded outbox has no place left for an application message (CMD-3): wait until the link drains it."""


class RemoteProtocolError(ArtCafeError):
    """The peer sent what the protocol does not allow.

    `code` is the number to answer with: an HTTP status or a WebSocket close code. `reason` says what was expected and
    what came. `clause` is the clause or RFC section that was broken.
    """

    def __init__(self, code: int, reason: str, clause: str) -> None:
        super().__init__(f"{reason} [{clause}, {code}]")
        self.code = code
        self.reason = reason
        self.clause = clause


class ApiError(RemoteProtocolError):
    """An HTTP request the platform refuses (PLAT-7): `status` and the `error.code` and `error.message` of its body.

    With `retry_after_s`, in how many whole seconds another try makes sense.
    """

    def __init__(self, status: int, error: str, message: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(status, message, "PLAT-7")
        self.status = status
        self.error = error
        self.message = message
        self.retry_after_s = retry_after_s


class KeyRefusedError(ArtCafeError):
    """A key, public or private, that the protocol does not accept (AUTH-5). The message says why and what to do."""


class SigningRefusedError(ArtCafeError):
    """A signer does not sign (AUTH-6). The message says why and what to do, is shown, and must hold no secret."""


class PassphraseNeededError(KeyRefusedError):
    """A private key that is encrypted, and no passphrase to decrypt it with (AUTH-5)."""
