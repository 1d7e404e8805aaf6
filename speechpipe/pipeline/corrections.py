"""Options that were corrected after the upload: a redrive reads the object's metadata anew.

What one revision holds belongs to one set of options. So a half whose options have changed runs again with the stages
that were asked for, and what an attempt with the earlier options may still bring is not taken for this revision's.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from speechpipe.backends.ports import Results, Uploads
from speechpipe.contract import HalfStatus, Options, Recording, Source, Stage
from speechpipe.contract.errors import ErrorCode, Rejected
from speechpipe.contract.options import parse_options
from speechpipe.pipeline import outcomes


@dataclass(frozen=True)
class Rerun:
    """What a redrive begins: the options that the object has now, and the stages that they make run again."""

    recording: Recording
    source: Source
    options: Options
    stages: tuple[Stage, ...]

    @property
    def corrected(self) -> bool:
        """Whether the options have changed since the last revision."""
        return self.options != self.recording.options

    def revised(self, now: datetime, results: Results) -> Recording:
        """The recording at the start of the revision.

        A late attempt of a stage that was given up brings its value as the next revision's (`perform`). With other
        options that value is not this revision's, so its number is left out.
        """
        known = self.recording
        late = self.corrected and any(half.error and half.error.retryable for half in known.halves.values())
        corrected = known.model_copy(update={"source": self.source, "options": self.options})
        revised = outcomes.revised(corrected, self.stages, now, results, revision=known.revision + (2 if late else 1))
        return revised.model_copy(update={"completes": tuple(filter(self._has_parts, self.stages))})

    def _has_parts(self, stage: Stage) -> bool:
        """Whether a stage has a value for some parts, made with these options, and none for others."""
        half, known = self.recording.halves[stage], self.recording.options
        missing = half.status is HalfStatus.COMPLETED and half.error is not None
        return missing and self.options.of(stage) == known.of(stage)


def rerun(recording: Recording, asked: Collection[Stage], uploads: Uploads) -> Rerun:
    """What running these stages of a finished recording again means now.

    Raises Rejected(invalid_option) if the metadata has changed and cannot be read as options: nothing runs then.
    """
    source = _now(recording.source, uploads)
    try:
        options = parse_options(source.metadata)
    except Rejected:
        if source.metadata != recording.source.metadata:
            raise
        # It was rejected for this, and will be again.
        options = recording.options
        return Rerun(recording, source, options, tuple(stage for stage in options.stages if stage in asked))
    stages = tuple(stage for stage in options.stages if stage in asked or _outdated(recording, options, stage))
    if not stages and options.stages != recording.options.stages:  # the stage that was asked for is no longer wanted
        stages = options.stages
    return Rerun(recording, source, options, stages)


def _now(source: Source, uploads: Uploads) -> Source:
    try:
        return source.model_copy(update={"metadata": uploads.current(source).metadata})
    except Rejected:  # the object is gone: the worker will say so
        return source


def _outdated(recording: Recording, options: Options, stage: Stage) -> bool:
    """Whether a half was made with other options than these, or has no value of any."""
    half, known = recording.halves[stage], recording.options
    if half.error and half.error.code is ErrorCode.INVALID_OPTION:
        return True
    if options.model_copy(update={"ref": known.ref}) == known:
        return False
    return half.status is not HalfStatus.COMPLETED or options.of(stage) != known.of(stage)
