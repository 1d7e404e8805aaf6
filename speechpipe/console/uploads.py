"""Uploads from the page: to a resumable session of the bucket, or through the console where the backend has none."""

from __future__ import annotations

import asyncio
import json
import mimetypes
import tempfile
from pathlib import Path
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from speechpipe.backends.local import STATE_FOLDER
from speechpipe.backends.local.folder import METADATA_SUFFIX
from speechpipe.client import Client
from speechpipe.console.payloads import UploadRequest, options_from_json, read_body
from speechpipe.contract.errors import ErrorCode, Rejected
from speechpipe.contract.options import parse_options


class UploadEndpoints:
    """The endpoints that take new recordings."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def start(self, request: Request) -> Response:
        """Answer with the URL to send the file to. Files that would be rejected later are refused here."""
        upload = UploadRequest.model_validate_json(await read_body(request))
        name, content_type = self._object_name(upload.name, upload.size, upload.options), _content_type(upload)
        session_url = await asyncio.to_thread(
            self._client.backend.uploads.session,
            name,
            upload.options,
            size=upload.size,
            content_type=content_type,
            origin=request.headers["origin"],
        )
        own_url = "/api/files?" + urlencode({"name": upload.name, "options": json.dumps(upload.options)})
        return JSONResponse({"url": session_url or own_url, "type": content_type})

    async def receive(self, request: Request) -> Response:
        """Write the file to a temporary file chunk by chunk, then hand it to the backend."""
        options = options_from_json(request.query_params.get("options", "{}"))
        name = self._object_name(request.query_params.get("name", ""), 0, options)
        directory = self._client.directory
        with tempfile.TemporaryDirectory(dir=directory / STATE_FOLDER if directory else None) as folder:
            path = Path(folder) / "upload"
            size = 0
            with path.open("wb") as out:
                async for chunk in request.stream():
                    size += len(chunk)
                    self._check_size(size)
                    await asyncio.to_thread(out.write, chunk)
            source = await asyncio.to_thread(self._client.backend.uploads.upload, path, name, options)
        return JSONResponse({"id": source.recording_id})

    def _object_name(self, name: str, size: int, options: dict[str, str]) -> str:
        """The name with the bucket's prefix, once name, size and options are valid. Raises Rejected."""
        parse_options(options, strict=True)
        self._check_size(size)
        last = name.rpartition("/")[2]
        if not last or last.startswith(".") or last.endswith(METADATA_SUFFIX) or len(name.encode()) > 900:
            message = f"a file name must not be empty, start with a dot, end in {METADATA_SUFFIX} or exceed 900 bytes"
            raise Rejected(ErrorCode.INVALID_OPTION, message)
        return self._client.limits.prefix + name

    def _check_size(self, size: int) -> None:
        if size > self._client.limits.max_bytes:
            raise Rejected(
                ErrorCode.TOO_LARGE, f"the file is larger than the allowed {self._client.limits.max_bytes} bytes"
            )


def _content_type(upload: UploadRequest) -> str:
    return upload.type or mimetypes.guess_type(upload.name)[0] or "application/octet-stream"
