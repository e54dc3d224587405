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
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | flags("O_NOFOLLOW", "O_NONBLOCK"), 0o600)
        try:
            _lock(descriptor)
        except OSError as error:
            locked = self._refusal(descriptor) if error.errno in (errno.EAGAIN, errno.EACCES) else error
            os.close(descriptor)
            raise locked from None
        self._descriptor = descriptor
        with suppress(OSError):  # it is only for a message, and the disk may be full
            os.ftruncate(descriptor, 0)
            os.lseek(descriptor, 0, os.SEEK_SET)
            os.write(descriptor, f"{os.getpid()} {socket.gethostname()}\n".encode())

    def release(self) -> None:
        """Give up the lock, if it is held. The file stays: removing it would let two processes have a lock each."""
        if self._descriptor is not None:
            with suppress(OSError):
                os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None

    def _refusal(self, descriptor: int) -> StoreLocked:
        pid, host, since = None, None, None
        who = "another process"
        os.lseek(descriptor, 0, os.SEEK_SET)
        words = os.read(descriptor, _MAX_HOLDER_BYTES).decode(errors="replace").split()
        if len(words) == 2 and words[0].isdecimal():
            pid, host, since = int(words[0]), words[1], os.fstat(descriptor).st_mtime
            who = f"process {pid} on {host} since {datetime.fromtimestamp(since, UTC):%Y-%m-%d %H:%M:%S} UTC"
        message = f"{self._of} is in use by {who}: stop that first, or use another path"
        return StoreLocked(message, pid=pid, host=host, since=since)


def _lock(descriptor: int) -> None:
    if sys.platform == "win32":
        import msvcrt

        os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
