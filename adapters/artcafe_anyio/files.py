"""What is read from files: which of them are kept safe, and what is read again because it has changed (AUTH-5)."""

from __future__ import annotations

import logging
import os
import shlex
import stat
from threading import Lock
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from artcafe_proto import ConfigError
from artcafe_proto.secrecy import Secretive, forget_locals

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

T = TypeVar("T")

_READ_ONLY = "it is mounted read-only, so have it mounted with mode 0400 (in Kubernetes: defaultMode: 0400)"


def exposure(path: str, status: os.stat_result) -> str | None:
    """Why this user's own file `path` is not kept safe, and what to do; None if it is, or belongs to somebody else.

    OpenSSH's rule: whoever else owns the file has let this user read it, by its group or an ACL, as systemd and
    Kubernetes do. Where users have no numbers, mode bits say nothing either.
    """
    mode = stat.S_IMODE(status.st_mode)
    if not hasattr(os, "geteuid") or status.st_uid != os.geteuid() or not mode & 0o077:
        return None
    is_read_only = os.statvfs(path).f_flag & os.ST_RDONLY
    todo = _READ_ONLY if is_read_only else f"chmod 600 {shlex.quote(path)}"
    return f"is open to others (mode {mode:04o}): {todo}"


def open_directory(directory: Path) -> None:
    """Make `directory` for its owner alone, or check that nobody else may put files there. Raises ConfigError."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = directory.stat()
    except OSError as error:
        why = "it is a file" if isinstance(error, FileExistsError) else error.strerror
        raise ConfigError(f"{directory} cannot be used as a directory: {why}") from None
    if not hasattr(os, "geteuid"):
        return  # where users have no numbers, mode bits say nothing either
    is_mine = status.st_uid == os.geteuid()
    others = 0o022 if is_mine else 0o002  # root's may be lent to a group of ours (AUTH-5)
    if not (is_mine or status.st_uid == 0) or status.st_mode & others:
        todo = f"chmod go-w {shlex.quote(str(directory))}" if is_mine else "give one of this user's own"
        raise ConfigError(f"{directory} must belong to this user or to root, and be writable by nobody else: {todo}")


def flags(*names: str) -> int:
    """Those flags of `os.open` that this system has. All it opens is closed by itself in other programs (PEP 446)."""
    return sum(getattr(os, name, 0) for name in ("O_BINARY", *names))


class Tell(Protocol):
    """Writes a line of a log, and the traceback of `error` if there is one; called from any thread."""

    def __call__(self, level: int, text: str, error: BaseException | None = None) -> None: ...


class FromFiles(Secretive, Generic[T]):
    """What was made of files. It is made anew once they have changed; if that fails, the old one stays in force."""

    def __init__(
        self,
        make: Callable[[], T],
        paths: Callable[[], Sequence[str]],
        tell: Tell,
        name: Callable[[T], str] = lambda _: "",
    ) -> None:
        """`make` reads the files and directories that `paths` lists, and raises ConfigError if they cannot be used;
        so does this. `name` says what came of them. Blocks.
        """
        self._make = make
        self._paths = paths
        self._tell = tell
        self._name = name
        self._looking = Lock()
        self._said = ""
        self._seen = self._look()  # before they are read: what changes meanwhile is seen the next time
        self._made = make()

    def get(self) -> T:
        """What is in force, after a look at the files. Blocks; call it from any thread, also from several at once."""
        if self._looking.acquire(blocking=False):  # else somebody makes it anew, who may be asking for a passphrase
            try:
                self._make_anew()
            finally:
                self._looking.release()
        return self._made

    def __str__(self) -> str:
        """What is in force, by its name."""
        return self._name(self._made)

    def _make_anew(self) -> None:
        seen = self._look()
        changed = sorted(path for path in seen.keys() | self._seen.keys() if seen.get(path) != self._seen.get(path))
        if not changed:
            return
        what = f"{', '.join(changed)} changed"
        try:
            made = self._make()
        except ConfigError as error:
            self._seen = seen
            self._complain(f"{what}, and what was read before stays in force: {error.problem} [AUTH-5]")
        except BaseException as error:  # of a passphrase's callback, exits too; so it is tried again the next time
            forget_locals(error)
            text = f"{what}, and what was read before stays in force: {type(error).__name__} [AUTH-5]"
            self._complain(text, error)
        else:
            self._seen, self._made, self._said = seen, made, ""
            name = f": {self}" if str(self) else ""
            self._tell(logging.INFO, f"{what} and was read again{name} [AUTH-5]")

    def _complain(self, text: str, error: BaseException | None = None) -> None:
        """Once, however often the files change without being of use."""
        if text != self._said:
            self._said = text
            self._tell(logging.WARNING if error is None else logging.ERROR, text, error)

    def _look(self) -> dict[str, object]:
        return {path: _stamp(path) for path in self._paths()}


def _stamp(path: str) -> object:
    """Another value once the file or directory `path` has changed, wherever symbolic links lead to it."""
    try:
        status = os.stat(path)
        stamp = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        if stat.S_ISDIR(status.st_mode):
            return stamp, {name: _stamp(os.path.join(path, name)) for name in os.listdir(path)}
    except OSError as error:
        return error.errno
    return stamp
