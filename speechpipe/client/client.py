"""What users call: submit, wait, get, list, explain - the same on a folder, on the emulators and on Google Cloud.

>>> client = speechpipe.Client()
>>> record = client.submit("call.wav", language="en").result(timeout=600)
>>> record.text, record.summary.dominant_emotion
"""

from __future__ import annotations

import atexit
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import unquote, urlsplit

from speechpipe.backends import local
from speechpipe.backends.ports import Analyse, Backend
from speechpipe.client.explain import Moment, life_story
from speechpipe.contract import Completion, Letter, Record, Recording, Source, Stage, Status
from speechpipe.contract.errors import Held, NotFound, SettingsMissing, WaitTimeout
from speechpipe.contract.options import parse_options
from speechpipe.embedded.engines import load_engines
from speechpipe.pipeline import operations
from speechpipe.pipeline.ingest import ingest
from speechpipe.pipeline.operations import LetterState
from speechpipe.pipeline.progress import Progress, of_recording
from speechpipe.pipeline.world import World, utc_now
from speechpipe.settings import ClientSettings, EngineSettings, Limits, read

POLL_SECONDS = 0.5
#: Recordings read at a time.
PAGE = 500


class Submission:
    """An uploaded file on its way."""

    def __init__(self, client: Client, source: Source) -> None:
        self._client = client
        self.source = source
        self.id = source.recording_id

    def __repr__(self) -> str:
        return f"Submission({self.id!r}, {self.source.uri!r})"

    def status(self) -> Status:
        """Where it stands; `queued` also before anybody has seen it."""
        recording = self._client.find(self.id)
        return recording.status if recording else Status.QUEUED

    def progress(self) -> Progress:
        """How far it is, and how many seconds are left: of the whole; nothing before anybody has seen it."""
        recording = self._client.find(self.id)
        return of_recording(recording, utc_now()) if recording else Progress(share=0.0)

    def result(self, timeout: float | None = None) -> Record:
        """Wait for the record. Raises WaitTimeout after `timeout` seconds, and Held if it does not run.

        A recording that ends `failed` or `rejected` has a record too: look at its `status` and `error`.
        """
        return self._client.wait(self.id, timeout=timeout)


class Client:
    """A connection to one speechpipe.

    With `directory`, or SPEECHPIPE_DIR set: the embedded backend of that folder, whose work this process does by
    itself when nobody else does. Otherwise Google Cloud (or the emulators), by GOOGLE_CLOUD_PROJECT,
    SPEECHPIPE_UPLOADS_BUCKET and SPEECHPIPE_RESULTS_BUCKET. Raises SettingsMissing if neither is there.
    """

    def __init__(
        self,
        directory: str | Path | None = None,
        *,
        engines: Callable[[], Mapping[Stage, Analyse]] | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        environ = os.environ if environ is None else environ
        directory = directory or environ.get("SPEECHPIPE_DIR") or None
        self.directory = Path(directory) if directory else None
        self._engines = engines or (lambda: load_engines(read(EngineSettings, environ)))
        self.limits = read(Limits, environ)
        self.project = environ.get("GOOGLE_CLOUD_PROJECT") or None
        self._traces = environ.get("SPEECHPIPE_TRACES", "")
        self._stack = ExitStack()
        self._working = False
        self.backend = self._connect(environ)
        self.world = World.over(self.backend, self.limits)

    def _connect(self, environ: Mapping[str, str]) -> Backend:
        if self.directory:
            return local.connect(self.directory)
        if not environ.get("SPEECHPIPE_UPLOADS_BUCKET"):
            raise SettingsMissing(
                "which speechpipe? Name a folder (--dir DIR, SPEECHPIPE_DIR or Client(directory)), or set"
                " GOOGLE_CLOUD_PROJECT, SPEECHPIPE_UPLOADS_BUCKET and SPEECHPIPE_RESULTS_BUCKET;"
                " `speechpipe up` prints them for the emulators"
            )
        from speechpipe.backends import gcp  # Google's libraries take a second to import; the embedded mode needs none

        return gcp.connect(read(ClientSettings, environ))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop the work that this client does for its folder, if any."""
        self._stack.close()
        self._working = False

    # ------------------------------------------------------------------------------------------------- verbs

    def submit(self, path: str | Path, *, name: str | None = None, **options: str) -> Submission:
        """Upload a file, with options as in the object's metadata (`language="en"`, `initial_prompt=...`).

        Raises Rejected for an option that would be rejected anyway, FileNotFoundError, IsADirectoryError.
        """
        path = Path(path)
        if path.is_dir():
            raise IsADirectoryError(f"{path} is a folder; name the files in it")
        if not path.is_file():
            raise FileNotFoundError(f"there is no file {path}")
        metadata = {key.replace("_", "-"): value for key, value in options.items()}
        parse_options(metadata)
        return Submission(self, self.backend.uploads.upload(path, name or path.name, metadata))

    def find(self, recording: str) -> Recording | None:
        """A recording by id, URI or name; of a name, the newest upload. None if there is none."""
        if recording.startswith("rec_") and (found := self.backend.store.recording(recording)):
            return found
        for uri in (uris := self._addresses(recording)):
            newest = self.backend.store.recordings(uri=uri, limit=1)
            if newest:
                return self.backend.store.recording(newest[0].id)
        # One that was erased no longer knows where it was; its object does, while that is there.
        objects = filter(None, map(self._object, uris))
        return next(filter(None, (self.backend.store.recording(each.recording_id) for each in objects)), None)

    def _addresses(self, recording: str) -> list[str]:
        return [recording] if "://" in recording else self._uris(recording)

    def _object(self, uri: str) -> Source | None:
        """The live object at an address."""
        if self.directory:
            path = Path(unquote(urlsplit(uri).path))
            root = self.directory.resolve()
            name = path.relative_to(root).as_posix() if path.is_relative_to(root) else ""
        else:
            name = uri.removeprefix("gs://").partition("/")[2]
        source = self.backend.uploads.find(name) if name not in ("", ".") else None
        return source if source and source.uri == uri else None

    def uploads_of(self, recording: str) -> list[Recording]:
        """By id one recording; by URI or name all uploads under it, newest first. Raises NotFound."""
        found = self.get(recording)
        if found.id == recording or found.status is Status.ERASED:
            return [found]
        return list(self.every(uri=found.source.uri))

    def every(self, *statuses: Status, since: datetime | None = None, uri: str | None = None) -> Iterator[Recording]:
        """Recordings in these states, or in any, first seen since a time, newest first; a page at a time."""
        for status in statuses or (None,):
            last: Recording | None = None
            while page := self.backend.store.recordings(status=status, uri=uri, after=last, limit=PAGE):
                yield from (each for each in page if since is None or each.queued_at >= since)
                last = page[-1]
                if len(page) < PAGE or (since and last.queued_at < since):
                    break

    def _uris(self, name: str) -> list[str]:
        """What a bare name may stand for: a file of the folder, an object of the bucket."""
        if self.directory:
            root = self.directory.resolve()
            return [(root / name).as_uri(), Path(name).resolve().as_uri()]
        source = self.backend.uploads.find(name)
        return [source.uri] if source else []

    def get(self, recording: str) -> Recording:
        """As `find`. Raises NotFound."""
        found = self.find(recording)
        if found is None:
            raise NotFound(f"there is no recording {recording!r}; `speechpipe list` shows what there is")
        return found

    def record(self, recording: str) -> Record:
        """The record of a finished recording. Raises NotFound while there is none."""
        found = self.get(recording)
        if found.result:
            return found.result
        if found.status is Status.ERASED:
            raise NotFound(f"{recording} was erased")
        if found.artifacts is None:
            raise NotFound(f"{recording} is not finished: it is {found.status.value}")
        return Record.model_validate_json(self.backend.results.read(found.artifacts.record))

    def progress(self, recording: str) -> Progress:
        """How far a recording is: the share done, and the seconds left where that can be said. Raises NotFound.

        Of a half: `speechpipe.pipeline.progress.of_half`.
        """
        return of_recording(self.get(recording), utc_now())

    def wait(self, recording: str, *, timeout: float | None = None) -> Record:
        """Wait until a recording has reached an end. Raises WaitTimeout, and Held if it does not run."""
        self.work()
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            found = self.find(recording)
            if found and found.status.is_final:
                return self.record(found.id)
            if found and found.status is Status.HELD:
                raise Held(f"{found.source.name} is held: {found.hold.message if found.hold else 'over a cap'}")
            if deadline is not None and time.monotonic() >= deadline:
                state = found.status.value if found else "not seen yet"
                raise WaitTimeout(f"{recording} is {state} after {timeout:g} s; `speechpipe explain` tells its story")
            time.sleep(POLL_SECONDS)

    def release(self, recording: str) -> Recording:
        """Let a held recording run; any other is left as it is. Raises NotFound."""
        return operations.release(self.get(recording).id, self.world)

    def redrive(self, recording: str, *stages: Stage) -> Recording:
        """Run stages of a finished recording again, or all, as its next revision. Raises NotFound, NotFinal."""
        return operations.redrive(self.get(recording).id, stages or tuple(Stage), self.world)

    def replay(self, recording: str) -> Recording:
        """Announce an outcome again, with its event's one id. Raises NotFound, NotFinal."""
        return operations.replay(self.get(recording).id, self.world)

    def erase(self, recording: str, *, upload: bool = False) -> Recording:
        """Erase a recording and all that was made of it, with `upload` the uploaded object too. Raises NotFound.

        The object of one that was erased before has to be named: an id no longer leads to it.
        """
        found = self.get(recording)
        if upload and found.status is Status.ERASED and recording != found.id:
            for source in filter(None, map(self._object, self._addresses(recording))):
                if source.recording_id == found.id:
                    self.backend.uploads.delete(source)
        return operations.erase(found.id, self.world, upload=upload)

    def ingest(self, source: Source) -> Recording | None:
        """Make a recording of an object, as its event would; None if the object is not a recording of ours."""
        return ingest(source, self.world)

    def objects(self, target: str) -> Iterator[Source]:
        """What lies in the folder under a prefix, or at `gs://bucket/prefix`, in any bucket. Raises NotFound."""
        if self.directory:
            return self.backend.uploads.objects(target)
        if not target.startswith("gs://"):
            raise NotFound(f"{target!r} is not gs://BUCKET/PREFIX; with --dir it is the beginning of names in a folder")
        return self._objects_of_bucket(target)

    def _objects_of_bucket(self, target: str) -> Iterator[Source]:
        from google.api_core.exceptions import GoogleAPICallError

        from speechpipe.backends import gcp

        name, _, prefix = target.removeprefix("gs://").partition("/")
        try:
            yield from gcp.bucket(name, self.project).objects(prefix)
        except GoogleAPICallError as error:
            raise NotFound(f"{target}: {error.code} {error.reason or error.message}") from None

    def dead_letters(self) -> list[tuple[Letter, LetterState]]:
        """Tasks that were delivered as often as allowed, oldest first, and what has become of them."""
        letters = self.backend.dead_letters.peek()
        return [(letter, operations.state_of(letter, self.backend.store)) for letter in letters]

    def settle(self, letters: Collection[Letter]) -> LetterState:
        """Run again what one recording's dead letters tell of, unless it is done, and take them away.

        Raises NotFinal.
        """
        return operations.settle(letters, self.world)

    def recordings(self, *, status: Status | None = None, limit: int = 100) -> list[Recording]:
        """Recordings, newest first, without their `result`."""
        return self.backend.store.recordings(status=status, limit=limit)

    def explain(self, recording: str) -> list[Moment]:
        """The life-story of one recording. Raises NotFound."""
        found = self.get(recording)
        partials = self.backend.store.partials(found.id)
        revisions = range(1, found.revision + 1)
        leases = [self.backend.store.lease(found.id, stage, number) for number in revisions for stage in Stage]
        return life_story(found, partials, [lease for lease in leases if lease], utc_now())

    def completions(self, timeout: float) -> Iterator[Completion]:
        """Completion events as they come, until none has come for `timeout` seconds."""
        return self.backend.completions.receive(timeout)

    def work(self) -> bool:
        """On a folder that nobody works on: do its work in this process, until `close`. Whether it does."""
        if self.directory is None or self._working:
            return self._working
        from speechpipe.embedded.runner import AlreadyRunning, Runner

        try:
            runner = Runner(self.directory, self._engines, self.limits, traces=self._traces)
            self._stack.enter_context(runner)
        except AlreadyRunning:
            return False
        self._working = True
        atexit.register(self.close)
        return True
