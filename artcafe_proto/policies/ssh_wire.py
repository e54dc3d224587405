"""The SSH data types that keys and signatures are framed with: `string` and `mpint` (RFC 4251 section 5)."""

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


def pack_mpint(number: int) -> bytes:
    """A positive `number` in as few bytes as it takes."""
    return pack_string(number.to_bytes(number.bit_length() // 8 + 1, "big"))


def take_mpint(data: bytes) -> tuple[int, bytes]:
    """The first mpint of `data`, and what follows it. Raises ValueError if it is not positive, or spelled too long."""
    digits, rest = take_string(data)
    number = int.from_bytes(digits, "big", signed=True)
    if number < 1 or pack_mpint(number) != pack_string(digits):
        raise ValueError("an SSH mpint is not positive, or has leading zeros")
    return number, rest
