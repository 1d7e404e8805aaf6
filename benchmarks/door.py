"""Run a worker's real HTTP service in this process, and push tasks to it the way Pub/Sub does.

    with worker(Stage.STT, choice.load, folder, in_flight=8, models="toy") as door:
        analyses = door(files)

The embedded backend (SQLite and a folder) stands in for Firestore, Pub/Sub and buckets. The time includes the whole
delivery: upload, ingest, push, lease, download, decoding, voice activity detection, model, partial.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvicorn

from speechpipe.backends import local
from speechpipe.backends.ports import Backend
from speechpipe.contract import Analysis, Options, Partial, Stage, Task, wire
from speechpipe.pipeline.ingest import ingest
from speechpipe.pipeline.world import World
from speechpipe.settings import Limits, WorkerSettings
from workers.service import Load, create_app


class Door:
    """A client of one worker; `worker` makes it."""

    def __init__(self, stage: Stage, backend: Backend, port: int, in_flight: int) -> None:
        self._stage, self._backend, self._port, self._in_flight = stage, backend, port, in_flight
        self._round = 0

    def __call__(self, files: Sequence[Path], *, in_flight: int | None = None) -> list[Analysis]:
        """Upload the files, push their tasks, and wait for every partial; a task answered 429 is pushed again."""
        return [self.analysis(partial) for partial in self.partials(files, in_flight=in_flight)]

    def partials(
        self, files: Sequence[Path], *, in_flight: int | None = None, on_done: Callable[[], None] = lambda: None
    ) -> list[Partial]:
        """The same, but return the partials: each has an analysis or a Failure. Calls `on_done` after each."""
        tasks = self._tasks(files)
        with ThreadPoolExecutor(in_flight or self._in_flight) as threads:
            for status in threads.map(self._push, tasks.values()):
                assert status == 204, status
                on_done()
        return [self._backend.store.partials(recording_id)[0] for recording_id in tasks]

    def _tasks(self, files: Sequence[Path]) -> dict[str, bytes]:
        """Create recordings; return their push requests by recording id."""
        self._round += 1
        made = {}
        for path in files:
            source = self._backend.uploads.upload(path, f"{self._round}-{path.name}", {})
            ingest(source, World.over(self._backend, Limits.model_validate({})))
            task = Task(
                recording_id=source.recording_id,
                stage=self._stage,
                source=source,
                options=Options(),
                queued_at=datetime.now(UTC),
            )
            data, attributes = wire.task_to_message(task)
            message = {"data": base64.b64encode(data).decode(), "attributes": attributes, "messageId": "1"}
            push = {"message": message, "subscription": "projects/p/subscriptions/s"}
            made[source.recording_id] = json.dumps(push).encode()
        return made

    def _push(self, body: bytes) -> int:
        while True:
            with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=3600)) as connection:
                connection.request("POST", "/", body, {"Content-Type": "application/json"})
                status = connection.getresponse().status
            if status != 429:
                return status
            time.sleep(0.05)

    def analysis(self, partial: Partial) -> Analysis:
        """A partial's analysis, which it must have, fetched if it is large."""
        if partial.analysis_uri:
            return Analysis.model_validate_json(self._backend.results.read(partial.analysis_uri))
        assert partial.analysis, partial.failure
        return partial.analysis


@contextlib.contextmanager
def worker(stage: Stage, load: Load, folder: Path, in_flight: int, **settings: Any) -> Iterator[Door]:
    """Run a stage's service, which takes `in_flight` recordings at a time; `folder` is for the backend."""
    folder.mkdir(exist_ok=True)
    backend = local.connect(folder)
    asked = WorkerSettings.model_validate(
        {
            "project": "p",
            "uploads_bucket": "u",
            "results_bucket": "r",
            "stage": stage,
            "concurrency": in_flight,
            "port": 0,
            **settings,
        }
    )
    app = create_app(asked, backend, load)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", access_log=False))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while app.state.worker.unready:
            if app.state.worker.failure:
                raise SystemExit(app.state.worker.failure)
            time.sleep(0.05)
        yield Door(stage, backend, server.servers[0].sockets[0].getsockname()[1], in_flight)
    finally:
        server.should_exit = True
        thread.join()
