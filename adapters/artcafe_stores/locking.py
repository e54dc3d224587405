"""One process at a time: a lock on a file beside the store.

The system's lock ends with the process, however that ends; what the file holds is only for a message. The lock cannot
be on the database itself: closing any descriptor of a file takes away the locks that SQLite has on it.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from contextlib import suppress
from datetime import UTC, datetime
from weakref import WeakSet

from artcafe_anyio.files import flags
from artcafe_stores.errors import StoreLocked

_MAX_HOLDER_BYTES = 512
_LOCKED_BYTE = 1 << 30
"""Where Windows locks: nobody could read the bytes that it locks."""


class FileLock:
    """The exclusive use of what `path` is a file of, from `acquire` to `release`."""

    def __init__(self, path: str, of: str) -> None:
        """`of` is what the lock protects, by its path."""
        self._path = path
        self._of = of
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock, if it is not held. Raises StoreLocked if somebody else has it, OSError for a file that cannot
        be used.
        """
        if self._descriptor is not None:
            return
        _held.add(self)  # before there is anything that a forked process may inherit
        access = os.O_RDWR | os.O_CREAT | flags("O_NOFOLLOW", "O_NONBLOCK")
        self._descriptor = descriptor = os.open(self._path, access, 0o600)
        try:
            _lock(descriptor)
        except OSError as error:
            locked = self._refusal(descriptor) if error.errno in (errno.EAGAIN, errno.EACCES) else error
            self.close()
            raise locked from None
        with suppress(OSError):  # it is only for a message, and the disk may be full
            os.ftruncate(descriptor, 0)
            os.lseek(descriptor, 0, os.SEEK_SET)
            os.write(descriptor, f"{os.getpid()} {socket.gethostname()}\n".encode())

    def renew(self) -> None:
        """Lock the file that is there, if the one that was locked has been removed or replaced: another process would
        lock that one. Raises as `acquire`; then it is to be renewed still.
        """
        held = self._descriptor
        if held is None or self._is_in_place(held):
            return
        self._descriptor = None
        try:
            self.acquire()
        except BaseException:
            self._descriptor = held
            raise
        os.close(held)

    def release(self) -> None:
        """Give up the lock, if it is held. The file stays: removing it would let two processes have a lock each."""
        if self._descriptor is not None:
            with suppress(OSError):
                os.ftruncate(self._descriptor, 0)
            _unlock(self._descriptor)
            self.close()

    def close(self) -> None:
        """Let go of the file; the lock stays with whoever else has inherited it by a fork."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _is_in_place(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.lstat(self._path), os.fstat(descriptor))
        except FileNotFoundError:
            return False

    def _refusal(self, descriptor: int) -> StoreLocked:
        pid, host, since = None, None, None
        who = "another process"
        words: list[str] = []
        with suppress(OSError):  # of what is no file, or a disk that fails
            os.lseek(descriptor, 0, os.SEEK_SET)
            words = os.read(descriptor, _MAX_HOLDER_BYTES).decode(errors="replace").split()
        if len(words) == 2 and words[0].isdecimal():
            pid, host, since = int(words[0]), words[1], os.fstat(descriptor).st_mtime
            who = f"process {pid} on {host} since {datetime.fromtimestamp(since, UTC):%Y-%m-%d %H:%M:%S} UTC"
        message = f"{self._of} is in use by {who}: stop that first, or use another path"
        return StoreLocked(message, pid=pid, host=host, since=since)


_held: WeakSet[FileLock] = WeakSet()


def _let_go() -> None:
    """In a forked process, which would else keep the locks after the end of the one that has them."""
    for lock in _held:
        lock.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)


def _lock(descriptor: int) -> None:
    if sys.platform == "win32":
        import msvcrt

        os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _unlock(descriptor: int) -> None:
    """Also for a process that was forked and has not come to closing it."""
    if sys.platform != "win32":
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_UN)
