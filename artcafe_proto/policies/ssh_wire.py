"""The one SSH data type that keys and signatures are framed with: `string` (RFC 4251 section 5)."""

from __future__ import annotations


def pack_string(data: bytes) -> bytes:
    """`data` behind its length in four bytes."""
    return len(data).to_bytes(4, "big") + data


def take_string(data: bytes) -> tuple[bytes, bytes]:
    """The first string of `data`, and what follows it. Raises ValueError if it is cut short."""
    end = 4 + int.from_bytes(data[:4], "big")
    if len(data) < 4 or len(data) < end:
        raise ValueError("an SSH string is cut short")
    return data[4:end], data[end:]
