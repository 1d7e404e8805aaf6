"""The JSON that the page sends, validated."""

from __future__ import annotations

from pydantic import Field, TypeAdapter
from starlette.requests import Request

from speechpipe.contract import Frozen, Stage
from speechpipe.contract.errors import ErrorCode, Rejected

#: Maximum size of a JSON body: it holds names and options, never a file.
MAX_BODY_BYTES = 64 * 1024

_OPTIONS = TypeAdapter(dict[str, str])


class UploadRequest(Frozen):
    """A file about to be uploaded."""

    name: str
    size: int
    type: str = ""
    options: dict[str, str] = Field(default_factory=dict)


class RedriveRequest(Frozen):
    """The stages to run again."""

    stages: tuple[Stage, ...]


class EraseRequest(Frozen):
    """Whether to delete the uploaded file as well."""

    upload: bool = False


async def read_body(request: Request) -> bytes:
    """Read a JSON body, counting bytes as they arrive. Raises Rejected(too_large)."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise Rejected(ErrorCode.TOO_LARGE, "the request is too large")
    return bytes(body)


def options_from_json(text: str) -> dict[str, str]:
    """Parse the `options` query parameter, a JSON object of strings. Raises ValidationError."""
    return _OPTIONS.validate_json(text)
