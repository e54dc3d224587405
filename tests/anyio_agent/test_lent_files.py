"""AUTH-5: secrets that belong to root and are lent to an agent's or a platform's user, as systemd and Kubernetes do.

systemd's LoadCredential= with DynamicUser= lends by an ACL, Kubernetes' fsGroup by the group; both show mode 0440.
"""

from __future__ import annotations

import errno
import os
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.certificates import issue

USER, GROUP = 64_321, 64_322
AUTHORITY = issue(common_name="The Authority", is_authority=True)
PROGRAM = f"""
import os, sys
from pathlib import Path
from artcafe_anyio import Agent
from artcafe_anyio.keys import is_locked, load_key, passphrase_in
from artcafe_anyio.tls import make_ssl_context
from artcafe_platform import load_or_create_secret, make_server_context
from artcafe_platform.data_dir import load_secrets
from artcafe_proto import ConfigError

def attempt(name, function):
    try:
        function()
    except ConfigError as error:
        print(name, error)
    else:
        print(name, "ok")

folder = sys.argv[1]
os.setgroups([])
os.setgid({GROUP})
os.setuid({USER})
for path in ("key", "locked", "passphrase", "cert-key.pem", "data/tenant-token"):
    assert not os.access(f"{{folder}}/{{path}}", os.W_OK)
attempt("key", lambda: load_key(f"{{folder}}/key"))
attempt("locked", lambda: load_key(f"{{folder}}/locked", passphrase_in(f"{{folder}}/passphrase")))
attempt("asking", lambda: is_locked(f"{{folder}}/locked"))
attempt("client", lambda: make_ssl_context(
    client_cert_file=f"{{folder}}/cert.pem", client_key_file=f"{{folder}}/cert-key.pem"))
attempt("server", lambda: make_server_context(f"{{folder}}/cert.pem", f"{{folder}}/cert-key.pem"))
attempt("data", lambda: load_secrets(Path(folder, "data")))
own = Path(folder, "shared", "own")
own.write_bytes(Path(folder, "key").read_bytes())
for mode in (0o640, 0o604, 0o600):
    own.chmod(mode)
    attempt(f"own {{mode:o}}", lambda: load_key(str(own)))
"""


def by_group(path: Path) -> None:
    os.chown(path, 0, GROUP)
    path.chmod(0o550 if path.is_dir() else 0o440)


def by_acl(path: Path) -> None:
    """`setfacl -m u:USER:r`: an access ACL as Linux keeps it (linux/posix_acl_xattr.h)."""
    right = 5 if path.is_dir() else 4
    path.chmod(0o500 if path.is_dir() else 0o400)
    entries = [(0x01, right, -1), (0x02, right, USER), (0x04, 0, -1), (0x10, right, -1), (0x20, 0, -1)]
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)
    try:
        os.setxattr(path, "system.posix_acl_access", acl)
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
        pytest.skip(f"the file system of {path} keeps no ACLs")
    assert path.stat().st_mode & 0o777 == (0o550 if path.is_dir() else 0o440)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A directory with root's secrets in it that another user may enter, unlike pytest's own."""
    if os.geteuid() != 0:
        pytest.skip("only root can lend a file to another user: run this test as root")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-a", "1"]
        subprocess.run([*keygen, "-N", "", "-f", folder / "key"], check=True)
        subprocess.run([*keygen, "-N", "a passphrase", "-f", folder / "locked"], check=True)
        (folder / "passphrase").write_text("a passphrase\n")
        issue("localhost", by=AUTHORITY).write(folder, "cert")[0].rename(folder / "cert.pem")
        (folder / "data").mkdir()
        (folder / "data" / "tenant-token").write_text("a-long-random-password")
        (folder / "data" / "signing-key").write_text("0" * 64)
        (folder / "shared").mkdir()
        (folder / "shared").chmod(0o777)
        yield folder


@pytest.mark.parametrize("lend", [by_group, by_acl])
def test_auth_5_secrets_that_root_lends_are_read_and_ones_own_are_kept_safe(
    folder: Path, lend: Callable[[Path], None]
) -> None:
    for name in ("key", "locked", "passphrase", "cert-key.pem", "data/tenant-token", "data/signing-key", "data"):
        lend(folder / name)
    program = [sys.executable, "-W", "error", "-c", PROGRAM, str(folder)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    open_to_others = "private_key_path {0}/shared/own is open to others (mode 0{1}): chmod 600 {0}/shared/own"
    assert done.stdout.splitlines() == [
        *(f"{name} ok" for name in ("key", "locked", "asking", "client", "server", "data")),
        f"own 640 {open_to_others.format(folder, 640)}",
        f"own 604 {open_to_others.format(folder, 604)}",
        "own 600 ok",
    ]
