"""The Python client. It works the same on a folder, on the emulators and on Google Cloud.

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
from typing import TYPE_CHECKING, Self
from urllib.parse import unquote, urlsplit

from speechpipe.backends import local
from speechpipe.backends.ports import Analyse, Backend
from speechpipe.client.explain import Moment, history
from speechpipe.contract import Completion, Letter, Record, Recording, Source, Stage, Status, Transcript
from speechpipe.contract.errors import Held, NotFound, SettingsMissing, WaitTimeout
from speechpipe.contract.options import parse_options
from speechpipe.embedded.engines import find_engines
from speechpipe.pipeline import operations
from speechpipe.pipeline.analyses import with_analysis
from speechpipe.pipeline.ingest import ingest
from speechpipe.pipeline.operations import LetterState
from speechpipe.pipeline.progress import Progress, of_recording
from speechpipe.pipeline.world import World, utc_now
from speechpipe.record.combine import newest
from speechpipe.settings import ClientSettings, EngineSettings, Limits, read

if TYPE_CHECKING:
    from speechpipe.embedded.runner import Runner

POLL_SECONDS = 0.5
#: Recordings read from the store per query.
PAGE = 500


class Submission:
    """An uploaded recording."""

    def __init__(self, client: Client, source: Source) -> None:
        self._client = client
        self.source = source
        self.id = source.recording_id

    def __repr__(self) -> str:
        return f"Submission({self.id!r}, {self.source.uri!r})"

    def status(self) -> Status:
        """The status of the recording; `queued` until its upload event is processed."""
        recording = self._client.find(self.id)
        return recording.status if recording else Status.QUEUED

    def progress(self) -> Progress:
        """The share done and the seconds left, of both halves together; zero until its upload event is processed."""
        recording = self._client.find(self.id)
        return of_recording(recording, utc_now()) if recording else Progress(share=0.0)

    def result(self, timeout: float | None = None) -> Record:
        """Wait for the record. Raises WaitTimeout after `timeout` seconds, and Held if a cap holds the recording.

        A recording that ends as `failed` or `rejected` also has a record; check its `status` and `error`.
        """
        return self._client.wait(self.id, timeout=timeout)


class Client:
    """A connection to one speechpipe.

    With `directory`, or SPEECHPIPE_DIR, it uses the embedded backend of that folder; if no other process works on the
    folder, waiting for a recording starts the work in this process. Otherwise it uses Google Cloud (or the emulators),
    configured by GOOGLE_CLOUD_PROJECT, SPEECHPIPE_UPLOADS_BUCKET and SPEECHPIPE_RESULTS_BUCKET. Raises SettingsMissing
    if neither is configured.
    """

    def __init__(
        self,
        directory: str | Path | None = None,
        *,
        engines: Callable[[], Mapping[Stage, Callable[[], Analyse]]] | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        environ = os.environ if environ is None else environ
        directory = directory or environ.get("SPEECHPIPE_DIR") or None
        self.directory = Path(directory) if directory else None
        self._engines = engines or (lambda: find_engines(read(EngineSettings, environ)))
        self.limits = read(Limits, environ)
        self.project = environ.get("GOOGLE_CLOUD_PROJECT") or None
        self._traces = environ.get("SPEECHPIPE_TRACES", "")
        self._stack = ExitStack()
        self._runner: Runner | None = None
        self.backend = self._connect(environ)
        self.world = World.over(self.backend, self.limits)

    def _connect(self, environ: Mapping[str, str]) -> Backend:
        if self.directory:
            return local.connect(self.directory)
        if not environ.get("SPEECHPIPE_UPLOADS_BUCKET"):
            raise SettingsMissing(
                "no backend chosen: name a folder (--dir DIR, SPEECHPIPE_DIR or Client(directory)), or set"
                " GOOGLE_CLOUD_PROJECT, SPEECHPIPE_UPLOADS_BUCKET and SPEECHPIPE_RESULTS_BUCKET;"
                " `speechpipe up` prints them for the emulators"
            )
        from speechpipe.backends import gcp  # slow: Google's libraries take a second to import

        return gcp.connect(read(ClientSettings, environ))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop the work on the folder if this client started it."""
        self._stack.close()
        self._runner = None

    # ------------------------------------------------------------------------------------------------- verbs

    def submit(self, path: str | Path, *, name: str | None = None, **options: str) -> Submission:
        """Upload a file as `name`, by default its own, with options such as `language="en"` or `initial_prompt=...`.

        Raises Rejected if an option is invalid, FileNotFoundError if there is no such file, and IsADirectoryError if
        it is a folder.
        """
        path = Path(path)
        if path.is_dir():
            raise IsADirectoryError(f"{path} is a folder; name the files in it")
        if not path.is_file():
            raise FileNotFoundError(f"there is no file {path}")
        metadata = {key.replace("_", "-"): value for key, value in options.items()}
        parse_options(metadata, strict=True)
        return Submission(self, self.backend.uploads.upload(path, name or path.name, metadata))

    def find(self, recording: str) -> Recording | None:
        """Find a recording by id, URI or name; the newest upload if several match. None if there is none."""
        if recording.startswith("rec_") and (found := self.backend.store.recording(recording)):
            return found
        for uri in (uris := self._candidate_uris(recording)):
            newest = self.backend.store.recordings(uri=uri, limit=1)
            if newest:
                return self.backend.store.recording(newest[0].id)
        # An erased recording has no URI or name any more. Its object, if it still exists, leads to its id.
        objects = filter(None, map(self._live_object, uris))
        return next(filter(None, (self.backend.store.recording(each.recording_id) for each in objects)), None)

    def _candidate_uris(self, recording: str) -> list[str]:
        return [recording] if "://" in recording else self._uris_of_name(recording)

    def _live_object(self, uri: str) -> Source | None:
        """The current object at a URI."""
        if self.directory:
            path = Path(unquote(urlsplit(uri).path))
            root = self.directory.resolve()
            name = path.relative_to(root).as_posix() if path.is_relative_to(root) else ""
        else:
            name = uri.removeprefix("gs://").partition("/")[2]
        source = self.backend.uploads.find(name) if name not in ("", ".") else None
        return source if source and source.uri == uri else None

    def uploads_of(self, recording: str) -> list[Recording]:
        """Find one recording by id, or all uploads under a URI or name, newest first. Raises NotFound."""
        found = self.get(recording)
        if found.id == recording or found.status is Status.ERASED:
            return [found]
        return list(self.every(uri=found.source.uri))

    def every(self, *statuses: Status, since: datetime | None = None, uri: str | None = None) -> Iterator[Recording]:
        """Iterate over recordings with these statuses (default: all), newest first, reading one page at a time.

        `since` selects those first seen since then. With several statuses, the recordings of each follow one another.
        """
        for status in statuses or (None,):
            last: Recording | None = None
            while page := self.backend.store.recordings(status=status, uri=uri, after=last, limit=PAGE):
                yield from (each for each in page if since is None or each.queued_at >= since)
                last = page[-1]
                if len(page) < PAGE or (since and last.queued_at < since):
                    break

    def _uris_of_name(self, name: str) -> list[str]:
        """URIs that a name without a scheme may stand for: of a file in the folder, or of an object in the bucket."""
        if self.directory:
            root = self.directory.resolve()
            return [(root / name).as_uri(), Path(name).resolve().as_uri()]
        source = self.backend.uploads.find(name)
        return [source.uri] if source else []

    def get(self, recording: str) -> Recording:
        """As `find`, but raises NotFound if there is none."""
        found = self.find(recording)
        if found is None:
            raise NotFound(f"there is no recording {recording!r}; `speechpipe list` lists all recordings")
        return found

    def record(self, recording: str) -> Record:
        """The record of a finished recording. Raises NotFound if there is none (yet)."""
        found = self.get(recording)
        if found.result:
            return found.result
        if found.status is Status.ERASED:
            raise NotFound(f"{recording} was erased")
        if found.artifacts is None:
            raise NotFound(f"{recording} is not finished: it is {found.status.value}")
        return Record.model_validate_json(self.backend.results.read(found.artifacts.record))

    def transcript(self, recording: str) -> Transcript | None:
        """What was said, as soon as that half of the newest revision is there, which may be before the record.

        None until then, and if that half failed. Raises NotFound.
        """
        found = self.get(recording)
        partial = newest(self.backend.store.partials(found.id), found).get(Stage.STT)
        analysis = with_analysis(partial, self.world).analysis if partial else None
        return analysis.value if analysis and isinstance(analysis.value, Transcript) else None

    def progress(self, recording: str) -> Progress:
        """The share of a recording that is done, and the seconds left if they can be estimated. Raises NotFound.

        For the progress of one half, see `speechpipe.pipeline.progress.of_half`.
        """
        return of_recording(self.get(recording), utc_now())

    def wait(self, recording: str, *, timeout: float | None = None) -> Record:
        """Wait until a recording is finished. Raises WaitTimeout after `timeout` seconds, Held if a cap holds it."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            self.work()
            found = self.find(recording)
            if found and found.status.is_final:
                return self.record(found.id)
            if found and found.status is Status.HELD:
                raise Held(f"{found.source.name} is held: {found.hold.message if found.hold else 'over a cap'}")
            if deadline is not None and time.monotonic() >= deadline:
                state = found.status.value if found else "not seen yet"
                raise WaitTimeout(
                    f"{recording} is {state} after {timeout:g} s; `speechpipe explain` shows what happened"
                )
            time.sleep(POLL_SECONDS)

    def release(self, recording: str) -> Recording:
        """Let a held recording run; leaves any other as it is. Raises NotFound."""
        return operations.release(self.get(recording).id, self.world)

    def redrive(self, recording: str, *stages: Stage) -> Recording:
        """Run stages of a finished recording again, by default all, with the options that its upload has now.

        Raises NotFound, NotFinal, and Rejected for options that have changed and cannot be read.
        """
        return operations.redrive(self.get(recording).id, stages or tuple(Stage), self.world)

    def replay(self, recording: str) -> Recording:
        """Announce an outcome again, with the same event id. Raises NotFound, NotFinal."""
        return operations.replay(self.get(recording).id, self.world)

    def erase(self, recording: str, *, upload: bool = False) -> Recording:
        """Erase a recording and everything derived from it, and with `upload` the uploaded object. Raises NotFound.

        To delete the object of a recording that was erased before, pass its URI or name, because the id no longer
        leads to it. An object under retention or a hold stays: `retained` of what is returned says until when.
        """
        found = self.get(recording)
        if not (upload and found.status is Status.ERASED and recording != found.id):
            return operations.erase(found.id, self.world, upload=upload)
        retained = None
        for source in filter(None, map(self._live_object, self._candidate_uris(recording))):
            if source.recording_id == found.id:
                retained = self.backend.uploads.delete(source)
        return operations.erase(found.id, self.world, upload=upload).model_copy(update={"retained": retained})

    def ingest(self, source: Source) -> Recording | None:
        """Make a recording of an object, as its upload event would. None if the object is not a recording."""
        return ingest(source, self.world)

    def objects(self, target: str) -> Iterator[Source]:
        """List objects under a prefix in the folder, or under `gs://bucket/prefix` in any bucket. Raises NotFound."""
        if self.directory:
            return self.backend.uploads.objects(target)
        if not target.startswith("gs://"):
            raise NotFound(
                f"{target!r} is not gs://BUCKET/PREFIX; only with --dir can it be a prefix of names in the folder"
            )
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
        """Tasks that were not finished within the allowed deliveries, oldest first, and the state of each."""
        letters = self.backend.dead_letters.peek()
        return [(letter, operations.state_of(letter, self.backend.store)) for letter in letters]

    def settle(self, letters: Collection[Letter]) -> LetterState:
        """Run the stages of one recording's dead letters again, unless they have succeeded, and remove the letters.

        Raises NotFinal if the recording has not finished.
        """
        return operations.settle(letters, self.world)

    def recordings(self, *, status: Status | None = None, limit: int = 100) -> list[Recording]:
        """Recordings, newest first, without their `result`."""
        return self.backend.store.recordings(status=status, limit=limit)

    def explain(self, recording: str) -> list[Moment]:
        """What happened to a recording, in order of time. Raises NotFound."""
        found = self.get(recording)
        store, revisions = self.backend.store, range(1, found.revision + 1)
        partials = store.partials(found.id)
        numbers = [None, *(part.number for part in found.plan.parts)] if found.plan else [None]
        leases = [
            store.lease(found.id, stage, revision, number)
            for revision in revisions
            for stage in Stage
            for number in numbers
        ]
        if found.plan:
            partials += [
                part for number in revisions for stage in Stage for part in store.parts(found.id, stage, number)
            ]
        return history(found, partials, [lease for lease in leases if lease], utc_now())

    def completions(self, timeout: float) -> Iterator[Completion]:
        """Yield completion events as they arrive, until none arrives for `timeout` seconds."""
        return self.backend.completions.receive(timeout)

    def work(self) -> bool:
        """Work on the folder in this process until `close`, unless another process does. True if this one does.

        Engines load meanwhile. If one of them cannot, a later call raises EngineUnavailable.
        """
        if self._runner:
            self._runner.check()
        if self.directory is None or self._runner:
            return self._runner is not None
        from speechpipe.embedded.runner import AlreadyRunning, Runner

        try:
            runner = Runner(self.directory, self._engines, self.limits, traces=self._traces)
            self._runner = self._stack.enter_context(runner)
        except AlreadyRunning:
            return False
        atexit.register(self.close)
        return True
