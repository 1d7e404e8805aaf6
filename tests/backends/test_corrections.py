"""An option that is corrected after the upload: what redrive does with every backend's bucket, store and bus."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

from google.cloud import storage

from speechpipe.backends.local.folder import FolderUploads
from speechpipe.contract import Source, Stage, Status
from speechpipe.pipeline.ingest import ingest
from speechpipe.pipeline.join import join
from speechpipe.pipeline.operations import redrive
from speechpipe.pipeline.world import World
from speechpipe.settings import Limits
from tests.backends.conftest import Harness
from tests.backends.examples import LATER, partial


def correct(harness: Harness, source: Source, metadata: dict[str, str]) -> None:
    """Change the metadata of an uploaded object as its uploader would."""
    uploads = harness.backend.uploads
    if isinstance(uploads, FolderUploads):
        (uploads.root / f"{source.name}.meta.json").write_text(json.dumps(metadata))
        return
    blob = storage.Client().bucket(source.bucket).get_blob(source.name)
    blob.metadata = {**dict.fromkeys(source.metadata), **metadata}  # None removes a key
    blob.patch()


def test_a_rejected_option_is_corrected_and_the_recording_completed(harness: Harness, tmp_path: Path) -> None:
    world = World.over(harness.backend, Limits(), lambda: LATER)
    audio = tmp_path.parent / f"{uuid.uuid4().hex}.wav"
    audio.write_bytes(b"audio")
    source = world.uploads.upload(audio, audio.name, {"langauge": "de", "ref": "7"})
    first = ingest(source, world)
    assert first is not None
    assert (rejected := join(first.id, 1, world)) is not None
    assert rejected.status is Status.REJECTED

    corrected = {"language": "de-AT", "__class__": "call"}
    correct(harness, source, corrected)
    begun = redrive(first.id, tuple(Stage), world)
    for stage in Stage:
        [task] = [task for task in harness.pull_tasks(stage) if task.recording_id == first.id]
        assert (task.revision, task.options.language, task.source.metadata) == (2, "de", corrected)
        world.store.create_partial(partial(begun, stage, revision=2))
    assert join(first.id, 2, world) is not None
    done = world.store.recording(first.id)
    assert done is not None
    assert (done.status, done.error, done.source.metadata) == (Status.COMPLETED, None, corrected)
    assert done.result is not None
    assert (done.result.options.language, done.result.options.ref) == ("de", None)
    said = {caution.code: caution.message for caution in done.warnings}
    assert said["option_understood"] == "options were understood so: language 'de-AT' as de"
