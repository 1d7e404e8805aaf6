"""The console's HTTP: what the page asks for, and what people decide.

    GET  /, /console.css, /console.js     the page
    GET  /api/recordings                  the list: filters, words, a stretch of it        (from the index)
    GET  /api/events                      server-sent events: rows, figures, resync        (from the hub)
    GET  /api/recordings/ID               one recording with its life-story                (from the store)
    POST /api/recordings/ID/VERB          redrive, release, erase
    POST /api/uploads                     where to put a file: a session of the bucket, or here
    PUT  /api/files                       a file, on its way to a bucket without sessions
    GET  /recordings/ID/report            its report, the sound from /recordings/ID/audio; /recordings/ID/files/NAME

Endpoints are plain functions, in threads; only what streams is asynchronous.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import mimetypes
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from pydantic import Field, ValidationError
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from speechpipe.backends.local import STATE_FOLDER
from speechpipe.backends.local.folder import METADATA_SUFFIX
from speechpipe.client import Client
from speechpipe.console.guard import Assertions, Guard, policy
from speechpipe.console.hub import Hub, message
from speechpipe.console.index import Index, Query
from speechpipe.console.media import sound
from speechpipe.console.rows import row_of
from speechpipe.console.watcher import Watcher, Workers
from speechpipe.contract import Frozen, Record, Recording, Stage
from speechpipe.contract.errors import ErrorCode, NotFinal, NotFound, Rejected, SpeechpipeError
from speechpipe.contract.options import parse_options
from speechpipe.record.exports import to_csv
from speechpipe.record.report import content_security_policy, render_report
from speechpipe.record.subtitles import transcript_srt, transcript_vtt

#: Lines in one answer, at most.
MAX_PAGE = 200
#: A request's JSON, at most: names and options.
MAX_BODY_BYTES = 64 * 1024

_PAGE = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/console.css": ("console.css", "text/css; charset=utf-8"),
    "/console.js": ("console.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
#: A record as files to keep: how each is made, and its type.
_FILES: dict[str, tuple[Callable[[Record], str], str]] = {
    "record.json": (lambda record: record.model_dump_json(indent=1), "application/json"),
    "transcript.txt": (lambda record: record.text + "\n", "text/plain; charset=utf-8"),
    "transcript.srt": (transcript_srt, "application/x-subrip; charset=utf-8"),
    "transcript.vtt": (transcript_vtt, "text/vtt; charset=utf-8"),
    "segments.csv": (to_csv, "text/csv; charset=utf-8"),
}


class Upload(Frozen):
    """A file that somebody wants to upload."""

    name: str
    size: int
    type: str = ""
    options: dict[str, str] = Field(default_factory=dict)


class Redrive(Frozen):
    """Which halves to run again."""

    stages: tuple[Stage, ...]


class Erase(Frozen):
    """Whether the uploaded file goes too."""

    upload: bool = False


class Pages:
    """The endpoints, over one client, index and hub."""

    def __init__(self, client: Client, index: Index, hub: Hub, watcher: Watcher) -> None:
        self._client, self._index, self._hub, self._watcher = client, index, hub, watcher

    # ---------------------------------------------------------------------------------------------- the list

    def recordings(self, request: Request) -> Response:
        """A stretch of the list."""
        given = request.query_params
        now = datetime.now(UTC)
        query = Query(
            text=given.get("q", "")[:500],
            status=given.get("status"),
            language=given.get("language"),
            emotion=given.get("emotion"),
            since=_time(given.get("since")),
            until=_time(given.get("until")),
        )
        offset, limit = _whole(given.get("offset"), 0), min(_whole(given.get("limit"), 100), MAX_PAGE)
        total, rows = self._index.search(query, now, offset=offset, limit=limit)
        head = json.dumps({"total": total, "offset": offset, "filled": self._watcher.filled.is_set()})
        return Response(f'{head[:-1]}, "rows": [{",".join(rows)}]}}', media_type="application/json")

    async def events(self, request: Request) -> Response:
        """What changes, until the page goes."""
        viewer = self._hub.join()
        first = message("figures", self._watcher.figures)

        async def stream() -> AsyncIterator[bytes]:
            try:
                yield first
                async for body in viewer.messages():
                    yield body
            finally:
                self._hub.leave(viewer)

        return StreamingResponse(stream(), media_type="text/event-stream", headers={"x-accel-buffering": "no"})

    # ------------------------------------------------------------------------------------------ one recording

    def recording(self, request: Request) -> Response:
        """All that is known of it."""
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
                "warnings": [caution.message for caution in recording.warnings],
                "record": recording.artifacts is not None,
                "may_redrive": recording.may_be_revised,
                "files": list(_FILES) if recording.artifacts else [],
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
        """Its report, made now: what it may do is what this version's report may do."""
        recording = self._get(request)
        page = render_report(self._client.record(recording.id), audio=f"/recordings/{recording.id}/audio")
        media = content_security_policy().partition("media-src ")
        csp = f"{media[0]}media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
        return Response(page, media_type="text/html; charset=utf-8", headers={"content-security-policy": csp})

    def audio(self, request: Request) -> Response:
        """Its sound."""
        return sound(request, self._get(request).source, self._client.backend.uploads)

    def file(self, request: Request) -> Response:
        """Its record as a file to keep."""
        recording, name = self._get(request), request.path_params["name"]
        if name not in _FILES:
            raise NotFound(f"there is no {name}")
        write, media_type = _FILES[name]
        stem = recording.source.name.rpartition("/")[2].rpartition(".")[0] or recording.id
        headers = {"content-disposition": f"attachment; filename*=UTF-8''{quote(f'{stem}.{name}', safe='')}"}
        return Response(write(self._client.record(recording.id)), media_type=media_type, headers=headers)

    def _get(self, request: Request) -> Recording:
        recording_id = request.path_params["id"]
        found = self._client.backend.store.recording(recording_id)
        if found is None:
            self._index.forget(recording_id)
            raise NotFound(f"there is no recording {recording_id}")
        return found

    # ------------------------------------------------------------------------------------ what people decide

    async def redrive(self, request: Request) -> Response:
        """Run halves again."""
        wanted = Redrive.model_validate_json(await _body(request))
        return await self._decided(self._client.redrive, request, *wanted.stages)

    async def release(self, request: Request) -> Response:
        """Let a held one run."""
        return await self._decided(self._client.release, request)

    async def erase(self, request: Request) -> Response:
        """Leave nothing of it."""
        wanted = Erase.model_validate_json(await _body(request))
        return await self._decided(self._client.erase, request, upload=wanted.upload)

    async def _decided(self, verb: Callable[..., Recording], request: Request, *args: Any, **kwargs: Any) -> Response:
        recording = await asyncio.to_thread(verb, request.path_params["id"], *args, **kwargs)
        self._watcher.hurry()
        return JSONResponse(row_of(recording, datetime.now(UTC)))

    # ------------------------------------------------------------------------------------------------ uploads

    async def uploads(self, request: Request) -> Response:
        """Where a file goes; refused here if it would be rejected anyway."""
        wanted = Upload.model_validate_json(await _body(request))
        name, kind = self._checked(wanted.name, wanted.size, wanted.options), _kind(wanted)
        address = await asyncio.to_thread(
            self._client.backend.uploads.session,
            name,
            wanted.options,
            size=wanted.size,
            content_type=kind,
            origin=request.headers["origin"],
        )
        here = "/api/files?" + urlencode({"name": wanted.name, "options": json.dumps(wanted.options)})
        return JSONResponse({"url": address or here, "type": kind})

    async def files(self, request: Request) -> Response:
        """A file, chunk by chunk to a disk, and from there to where files are."""
        options = parsed_options(request.query_params.get("options", "{}"))
        name = self._checked(request.query_params.get("name", ""), 0, options)
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

    def _checked(self, name: str, size: int, options: dict[str, str]) -> str:
        """The object's name. Raises Rejected."""
        parse_options(options)
        self._check_size(size)
        last = name.rpartition("/")[2]
        if not last or last.startswith(".") or last.endswith(METADATA_SUFFIX) or len(name.encode()) > 900:
            message = "a recording's name is not empty, hidden or longer than 900 bytes, and no settings of another"
            raise Rejected(ErrorCode.INVALID_OPTION, message)
        return self._client.limits.prefix + name

    def _check_size(self, size: int) -> None:
        if size > self._client.limits.max_bytes:
            raise Rejected(
                ErrorCode.TOO_LARGE, f"the file is larger than the allowed {self._client.limits.max_bytes} bytes"
            )


def create_app(
    client: Client,
    *,
    hosts: Collection[str] | None,
    assertions: Assertions | None = None,
    workers: Workers | None = None,
) -> Starlette:
    """The application, watching its client's store while it is served. `app.state.hub` ends its streams."""
    index, hub = Index(), Hub()
    watcher = Watcher(client, index, hub, workers)
    pages = Pages(client, index, hub, watcher)

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
            *(Route(path, _static(*of)) for path, of in _PAGE.items()),
            Route("/api/recordings", pages.recordings),
            Route("/api/events", pages.events),
            Route(f"/api{one}", pages.recording),
            *(
                Route(f"/api{one}/{verb.__name__}", verb, methods=["POST"])
                for verb in (pages.redrive, pages.release, pages.erase)
            ),
            Route("/api/uploads", pages.uploads, methods=["POST"]),
            Route("/api/files", pages.files, methods=["PUT"]),
            Route(f"{one}/report", pages.report),
            Route(f"{one}/audio", pages.audio),
            Route(f"{one}/files/{{name:str}}", pages.file),
        ],
        middleware=[
            Middleware(Guard, hosts=hosts, assertions=assertions, csp=policy(client.backend.uploads.sessions_at or ""))
        ],
        exception_handlers={
            NotFound: _answering(404),
            NotFinal: _answering(409),
            Rejected: _answering(422),
            ValidationError: _answering(400),
            ClientDisconnect: _answering(400),
            SpeechpipeError: _answering(400),
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


def _answering(status: int) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def answer(_: Request, error: Exception) -> Response:
        text = "that is no request of the console's page" if isinstance(error, ValidationError) else str(error)
        return JSONResponse({"error": error.message if isinstance(error, Rejected) else text}, status_code=status)

    return answer


async def _body(request: Request) -> bytes:
    """A request's JSON, counted as it comes. Raises Rejected."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise Rejected(ErrorCode.TOO_LARGE, "the request is too large")
    return bytes(body)


def parsed_options(text: str) -> dict[str, str]:
    """Options as the page sends them. Raises ValidationError."""
    return Upload.model_validate({"name": "", "size": 0, "options": json.loads(text)}).options


def _kind(upload: Upload) -> str:
    return upload.type or mimetypes.guess_type(upload.name)[0] or "application/octet-stream"


def _whole(text: str | None, otherwise: int) -> int:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 10 else otherwise


def _time(text: str | None) -> datetime | None:
    """A time with its zone; what is none does not count."""
    try:
        at = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
