"""JSON from liars (MSG-5, MSG-6): all that a field, a message or a body may be in the place of what it should."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any, Final

import msgspec

_DEEP: Final = 30_000
VALUES: Final[dict[str, bytes]] = {
    "null": b"null",
    "true": b"true",
    "false": b"false",
    "zero": b"0",
    "minus zero": b"-0",
    "minus one": b"-1",
    "one": b"1",
    "a fraction": b"0.5",
    "2 to the 63rd": b"9223372036854775808",
    "2 to the 64th": b"18446744073709551616",
    "an integer of 400 digits": b"9" * 400,
    "minus an integer of 400 digits": b"-" + b"9" * 400,
    "an integer of 20,000 digits": b"9" * 20_000,
    "a fraction of 5,000 digits": b"0." + b"1" * 5000,
    "a huge exponent": b"1e999999",
    "minus a huge exponent": b"-1e999999",
    "a huge exponent of many digits": b"1e" + b"9" * 2000,
    "a tiny exponent": b"1e-999999",
    "beyond a double": b"1E400",
    "NaN": b"NaN",
    "Infinity": b"Infinity",
    "-Infinity": b"-Infinity",
    "a leading zero": b"01",
    "a leading plus": b"+1",
    "hexadecimal": b"0x10",
    "no fraction": b"1.",
    "no exponent": b"1e",
    "a bare minus": b"-",
    "an empty text": b'""',
    "a blank": b'" "',
    "a text": b'"text"',
    "a number as text": b'"1"',
    "a long text": b'"' + b"x" * 20_000 + b'"',
    "a long escaped text": b'"' + b"\\u00e9" * 3000 + b'"',
    "a NUL, escaped": b'"\\u0000"',
    "a line end, escaped": b'"\\r\\n"',
    "a lone high surrogate, escaped": b'"\\ud800"',
    "a lone low surrogate, escaped": b'"\\udc00"',
    "surrogates the wrong way round": b'"\\udc00\\ud800"',
    "a pair of surrogates": b'"\\ud83d\\ude00"',
    "an escape that is none": b'"\\x41"',
    "half an escape": b'"\\u12"',
    "a control character": b'"\x01"',
    "a text that does not end": b'"text',
    "single quotes": b"'text'",
    "an empty array": b"[]",
    "an empty object": b"{}",
    "an object": b'{"a":[1,{"b":null}]}',
    "a key twice": b'{"a":1,"a":"2"}',
    "a surrogate as key": b'{"\\ud800":1}',
    "a number as key": b"{1:2}",
    "a comma too many": b"[1,]",
    "no comma": b"[1 2]",
    "no value": b"",
    "a comment": b"1/* */",
    "64 levels": b"[" * 64 + b"]" * 64,
    "many levels of arrays": b"[" * _DEEP + b"]" * _DEEP,
    "many levels of objects": b'{"a":' * 6000 + b"1" + b"}" * 6000,
    "many levels that do not end": b"[" * _DEEP,
    "brackets in a text": b'"' + b"[{" * _DEEP + b'"',
    "many small keys": b"{" + b",".join(b'"%d":0' % number for number in range(3000)) + b"}",
}
NOT_UTF_8: Final[dict[str, bytes]] = {
    "a byte that begins nothing": b'"\xff"',
    "a byte that continues nothing": b'"\x80"',
    "a surrogate": b'"\xed\xa0\x80"',
    "an overlong slash": b'"\xc0\xaf"',
    "beyond Unicode": b'"\xf4\x90\x80\x80"',
    "a character cut short": b'"\xe2\x82"',
    "outside of any text": b"\xff",
    "as a key": b'{"\xff":1}',
}


def lies_about(sound: Mapping[str, bytes], values: Mapping[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """Objects with one field of `sound` missing, twice, or any of `values`, and with a field that nobody knows."""
    for name in sound:
        yield f"{name} missing", written({each: value for each, value in sound.items() if each != name})
        for what, value in values.items():
            yield f"{name} is {what}", written(dict(sound) | {name: value})
            pair = f'"{name}":'.encode() + value
            yield f"{name} first is {what}", b"{" + pair + b"," + written(sound)[1:]
            yield f"{name} then is {what}", written(sound)[:-1] + b"," + pair + b"}"
    for what, value in values.items():
        yield f"a field that nobody knows is {what}", written(dict(sound) | {"nobody_knows": value})


def whole_lies(sound: Mapping[str, bytes]) -> dict[str, bytes]:
    """What may come in the place of a whole body or message."""
    body = written(sound)
    return VALUES | {
        "nothing": b"",
        "blanks": b" \t\r\n ",
        "a byte order mark alone": b"\xef\xbb\xbf",
        "a byte order mark before it": b"\xef\xbb\xbf" + body,
        "blanks around it": b" \r\n\t" + body + b" \r\n\t",
        "something behind it": body + b"x",
        "a NUL behind it": body + b"\0",
        "twice": body * 2,
        "cut short": body[:-1],
        "its beginning": body[:1],
        "in UTF-16": body.decode().encode("utf-16"),
        "in UTF-32": body.decode().encode("utf-32"),
        "in an array": b"[" + body + b"]",
        "as a text": msgspec.json.encode(body.decode()),
    }


def written(fields: Mapping[str, bytes]) -> bytes:
    """An object of raw values."""
    return b"{" + b",".join(f'"{name}":'.encode() + value for name, value in fields.items()) + b"}"


def structs_in(module: ModuleType, ending: str) -> dict[str, type[msgspec.Struct]]:
    """The structs that a module reads, by the end of their names."""
    found: dict[str, Any] = {name: each for name, each in vars(module).items() if name.endswith(ending)}
    return {name: each for name, each in found.items() if isinstance(each, type) and issubclass(each, msgspec.Struct)}


def sound_fields(struct: type[msgspec.Struct], examples: Mapping[str, bytes]) -> dict[str, bytes]:
    """A right value for every field of a struct. A KeyError names a field that is new and has no example yet."""
    return {name: examples[name] for name in struct.__struct_encode_fields__}
