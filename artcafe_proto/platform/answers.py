"""HTTP answers of the platform: JSON, and errors that leak nothing internal (PLAT-7)."""

from __future__ import annotations

from typing import Any, Final, TypeVar

import msgspec

from artcafe_proto.errors import ApiError
from artcafe_proto.exchanges import JSON_HEADERS, Headers, HttpRequest, HttpResponse, ascii_lower, trimmed
from artcafe_proto.limits import STORE_FULL_RETRY_AFTER_S, STORE_RETRY_AFTER_S
from artcafe_proto.messages import is_too_deep

T = TypeVar("T")


BEARER_CHALLENGE: Headers = (("www-authenticate", "Bearer"),)
"""What a 401 must carry (RFC 9110 section 15.5.2)."""


def json_answer(status: int, value: object, headers: Headers = ()) -> HttpResponse:
    """`value` as a JSON body."""
    return HttpResponse(status=status, headers=(*JSON_HEADERS, *headers), body=msgspec.json.encode(value))


def error_answer(error: ApiError, headers: Headers = ()) -> HttpResponse:
    """`{"error":{"code","message"}}` (PLAT-7)."""
    body = {"error": {"code": error.error, "message": error.message}}
    return json_answer(error.status, body, headers)


IN_DOUBT: Final = "the store is slow: ask later whether it was accepted"


def in_doubt(response: HttpResponse) -> HttpResponse:
    """Instead of a response that waits for a store: nothing is certain. A write's names what to ask for (PLAT-5)."""
    retry = (("retry-after", f"{STORE_RETRY_AFTER_S}"),)
    if response.status not in _WRITTEN:
        return error_answer(store_unavailable(), retry)
    try:
        said = _object_decoder.decode(response.body)
    except (msgspec.MsgspecError, ValueError, RecursionError):  # it is missing, or a driver's
        said = {}
    ids = {name: value for name, value in said.items() if name.endswith("_id")}
    error = {"code": "may_be_accepted", "message": IN_DOUBT}
    return json_answer(503, {"error": error} | ids, retry)


def store_unavailable() -> ApiError:
    """New work is refused, and what is stored is not shown, while the store is slow or full."""
    return ApiError(
        503, "store_unavailable", "the store is slow, full or gone: try again later", retry_after_s=STORE_RETRY_AFTER_S
    )


def store_full(limit: str) -> ApiError:
    """The platform keeps as much as it may, of all tenants together (PLAT-8)."""
    return ApiError(503, "store_full", f"the platform keeps at most {limit}", retry_after_s=STORE_FULL_RETRY_AFTER_S)


_object_decoder: Final = msgspec.json.Decoder(dict[str, Any])
_WRITTEN: Final = frozenset({201, 202, 204})


def extra_headers(error: ApiError, allowed: str = "") -> Headers:
    """What RFC 9110 wants beside some statuses; `allowed` are the methods to name with 405."""
    match error.status:
        case 401:
            return BEARER_CHALLENGE
        case 405:
            return (("allow", allowed),)
        case 426:
            return (("upgrade", "websocket"), ("connection", "upgrade"), ("sec-websocket-version", "13"))
        case _:
            return () if error.retry_after_s is None else (("retry-after", f"{error.retry_after_s}"),)


def read_json(request: HttpRequest, decoder: msgspec.json.Decoder[T]) -> T:
    """The body of a request.

    Raises ApiError: 415 if it is not called JSON or is compressed, 400 if it is no JSON, 422 if it has another shape.
    """
    content_type = (request.header("content-type") or "").partition(";")[0]
    if ascii_lower(trimmed(content_type)) != "application/json":
        raise ApiError(415, "unsupported_media_type", "expected a body of Content-Type application/json")
    if request.codings - {""}:
        raise ApiError(415, "unsupported_media_type", "expected a body without Content-Encoding")
    if is_too_deep(request.body):
        raise ApiError(400, "invalid_json", "the body nests too deeply")
    try:
        return decoder.decode(request.body)
    except msgspec.ValidationError as error:
        raise ApiError(422, "invalid_body", f"expected another body: {error}") from None
    except (msgspec.MsgspecError, ValueError) as error:
        raise ApiError(400, "invalid_json", f"expected a body of JSON: {error}") from None
