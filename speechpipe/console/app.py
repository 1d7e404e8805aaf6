"""The console's HTTP application.

    GET  /, /console.css, /console.js     the page
    GET  /api/recordings                  a page of the list, filtered and searched        (from the index)
    GET  /api/events                      server-sent events: rows, figures, resync        (from the hub)
    GET  /api/recordings/ID               one recording with its history                   (from the store)
    POST /api/recordings/ID/VERB          redrive, release, erase
    POST /api/uploads                     the URL to upload a file to: a session of the bucket, or this console
    PUT  /api/files                       a file, where the backend has no upload sessions
    GET  /recordings/ID/report            the report; its audio is /recordings/ID/audio
    GET  /recordings/ID/files/NAME        the record as a file to download

Endpoints are plain functions, which Starlette runs in threads; only those that stream or read a body are asynchronous.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any
from urllib.parse import quote

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from speechpipe.client import Client
from speechpipe.console.guard import Guard, IapAssertions, page_policy
from speechpipe.console.hub import Hub, encode_event
from speechpipe.console.index import Index, Query
from speechpipe.console.media import audio_response
from speechpipe.console.payloads import EraseRequest, RedriveRequest, read_body
from speechpipe.console.rows import row_of
from speechpipe.console.uploads import UploadEndpoints
from speechpipe.console.watcher import RunningProcesses, Watcher
from speechpipe.contract import Record, Recording
from speechpipe.contract.errors import NotFinal, NotFound, Rejected, SpeechpipeError
from speechpipe.record.exports import to_csv
from speechpipe.record.report import content_security_policy, render_report
from speechpipe.record.subtitles import transcript_srt, transcript_vtt

#: Maximum number of rows in one response.
MAX_PAGE = 200

_STATIC = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/console.css": ("console.css", "text/css; charset=utf-8"),
    "/console.js": ("console.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
#: Files to download, by name: how each is made from the record, and its content type.
_DOWNLOADS: dict[str, tuple[Callable[[Record], str], str]] = {
    "record.json": (lambda record: record.model_dump_json(indent=1), "application/json"),
    "transcript.txt": (lambda record: record.text + "\n", "text/plain; charset=utf-8"),
    "transcript.srt": (transcript_srt, "application/x-subrip; charset=utf-8"),
    "transcript.vtt": (transcript_vtt, "text/vtt; charset=utf-8"),
    "segments.csv": (to_csv, "text/csv; charset=utf-8"),
}


class Endpoints:
    """The endpoints for the list, for one recording and for its operations."""

    def __init__(self, client: Client, index: Index, hub: Hub, watcher: Watcher) -> None:
        self._client, self._index, self._hub, self._watcher = client, index, hub, watcher

    # ---------------------------------------------------------------------------------------------- the list

    def recordings(self, request: Request) -> Response:
        """A page of the list."""
        params = request.query_params
        now = datetime.now(UTC)
        query = Query(
            text=params.get("q", "")[:500],
            status=params.get("status"),
            language=params.get("language"),
            emotion=params.get("emotion"),
            since=_parse_time(params.get("since")),
            until=_parse_time(params.get("until")),
        )
        offset, limit = _parse_int(params.get("offset"), 0), min(_parse_int(params.get("limit"), 100), MAX_PAGE)
        total, rows = self._index.search(query, now, offset=offset, limit=limit)
        head = json.dumps({"total": total, "offset": offset, "filled": self._watcher.loaded.is_set()})
        return Response(f'{head[:-1]}, "rows": [{",".join(rows)}]}}', media_type="application/json")

    async def events(self, request: Request) -> Response:
        """Stream changes until the viewer disconnects."""
        viewer = self._hub.subscribe()
        first = encode_event("figures", self._watcher.counters)

        async def stream() -> AsyncIterator[bytes]:
            try:
                yield first
                async for event in viewer.events():
                    yield event
            finally:
                self._hub.unsubscribe(viewer)

        return StreamingResponse(stream(), media_type="text/event-stream", headers={"x-accel-buffering": "no"})

    # ------------------------------------------------------------------------------------------ one recording

    def recording(self, request: Request) -> Response:
        """Everything the page shows about one recording."""
        recording = self._get(request)
        moments = self._client.explain(recording.id)
        return JSONResponse(
            {
                **row_of(recording, datetime.now(UTC)),
                "uri": recording.source.uri,
                "size": recording.source.size,
                "type": recording.source.content_type,
                "metadata": recording.source.metadata,
                "supersedes": recording.supersedes,
                "same_content_as": recording.same_content_as,
                "warnings": [caution.message for caution in recording.warnings],
                "record": recording.artifacts is not None,
                "may_redrive": recording.may_be_revised,
                "files": list(_DOWNLOADS) if recording.artifacts else [],
                "story": [
                    {
                        "at": moment.at.isoformat(),
                        "what": moment.what,
                        "stage": moment.stage.value if moment.stage else "",
                        "detail": moment.detail,
                    }
                    for moment in moments
                ],
            }
        )

    def report(self, request: Request) -> Response:
        """The report, rendered by this version, because the policy only allows this version's script to run."""
        recording = self._get(request)
        page = render_report(self._client.record(recording.id), audio=f"/recordings/{recording.id}/audio")
        media = content_security_policy().partition("media-src ")
        csp = f"{media[0]}media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
        return Response(page, media_type="text/html; charset=utf-8", headers={"content-security-policy": csp})

    def audio(self, request: Request) -> Response:
        """The uploaded file, for the report's player."""
        return audio_response(request, self._get(request).source, self._client.backend.uploads)

    def download(self, request: Request) -> Response:
        """The record in one of the download formats."""
        recording, name = self._get(request), request.path_params["name"]
        if name not in _DOWNLOADS:
            raise NotFound(f"there is no file {name}")
        convert, media_type = _DOWNLOADS[name]
        stem = recording.source.name.rpartition("/")[2].rpartition(".")[0] or recording.id
        headers = {"content-disposition": f"attachment; filename*=UTF-8''{quote(f'{stem}.{name}', safe='')}"}
        return Response(convert(self._client.record(recording.id)), media_type=media_type, headers=headers)

    def _get(self, request: Request) -> Recording:
        recording_id = request.path_params["id"]
        found = self._client.backend.store.recording(recording_id)
        if found is None:
            self._index.remove(recording_id)
            raise NotFound(f"there is no recording {recording_id}")
        return found

    # --------------------------------------------------------------------------------------------- operations

    async def redrive(self, request: Request) -> Response:
        """Run stages again."""
        body = RedriveRequest.model_validate_json(await read_body(request))
        return await self._operate(self._client.redrive, request, *body.stages)

    async def release(self, request: Request) -> Response:
        """Let a held recording run."""
        return await self._operate(self._client.release, request)

    async def erase(self, request: Request) -> Response:
        """Erase the recording."""
        body = EraseRequest.model_validate_json(await read_body(request))
        return await self._operate(self._client.erase, request, upload=body.upload)

    async def _operate(self, verb: Callable[..., Recording], request: Request, *args: Any, **kwargs: Any) -> Response:
        recording = await asyncio.to_thread(verb, request.path_params["id"], *args, **kwargs)
        self._watcher.poll_soon()
        return JSONResponse(row_of(recording, datetime.now(UTC)))


def create_app(
    client: Client,
    *,
    hosts: Collection[str] | None,
    assertions: IapAssertions | None = None,
    processes: RunningProcesses | None = None,
) -> Starlette:
    """The application. It watches the client's store while it is served; closing `app.state.hub` ends its streams."""
    index, hub = Index(), Hub()
    watcher = Watcher(client, index, hub, processes)
    endpoints, uploads = Endpoints(client, index, hub, watcher), UploadEndpoints(client)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        watcher.start()
        try:
            yield
        finally:
            hub.close()
            await asyncio.to_thread(watcher.stop)
            index.close()

    one = "/recordings/{id:str}"
    app = Starlette(
        routes=[
            *(Route(path, _static(*file)) for path, file in _STATIC.items()),
            Route("/api/recordings", endpoints.recordings),
            Route("/api/events", endpoints.events),
            Route(f"/api{one}", endpoints.recording),
            Route(f"/api{one}/redrive", endpoints.redrive, methods=["POST"]),
            Route(f"/api{one}/release", endpoints.release, methods=["POST"]),
            Route(f"/api{one}/erase", endpoints.erase, methods=["POST"]),
            Route("/api/uploads", uploads.start, methods=["POST"]),
            Route("/api/files", uploads.receive, methods=["PUT"]),
            Route(f"{one}/report", endpoints.report),
            Route(f"{one}/audio", endpoints.audio),
            Route(f"{one}/files/{{name:str}}", endpoints.download),
        ],
        middleware=[
            Middleware(
                Guard, hosts=hosts, assertions=assertions, csp=page_policy(client.backend.uploads.sessions_at or "")
            )
        ],
        exception_handlers={
            NotFound: _error_handler(404),
            NotFinal: _error_handler(409),
            Rejected: _error_handler(422),
            ValidationError: _error_handler(400),
            ClientDisconnect: _error_handler(400),
            SpeechpipeError: _error_handler(400),
        },
        lifespan=lifespan,
    )
    app.state.hub, app.state.index, app.state.watcher = hub, index, watcher
    return app


def _static(name: str, media_type: str) -> Callable[[Request], Response]:
    body = files("speechpipe.console").joinpath("static", name).read_bytes()

    def answer(_: Request) -> Response:
        return Response(body, media_type=media_type, headers={"cache-control": "no-cache"})

    return answer


def _error_handler(status: int) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def answer(_: Request, error: Exception) -> Response:
        text = "the request is malformed" if isinstance(error, ValidationError) else str(error)
        return JSONResponse({"error": error.message if isinstance(error, Rejected) else text}, status_code=status)

    return answer


def _parse_int(text: str | None, default: int) -> int:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 10 else default


def _parse_time(text: str | None) -> datetime | None:
    """A time, UTC unless it names a zone; None if it is not a time."""
    try:
        at = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
