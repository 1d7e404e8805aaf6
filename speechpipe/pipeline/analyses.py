"""Where a partial's analysis lies: in the partial while it is small, else in the results bucket."""

from __future__ import annotations

from speechpipe.contract import PARTIAL_INLINE_BYTES, Analysis, Partial, work_key
from speechpipe.pipeline.world import World


def with_analysis(partial: Partial, world: World) -> Partial:
    """The partial with its analysis, read from the results bucket if it lies there. Raises NotFound if it is gone."""
    if partial.analysis_uri is None:
        return partial
    analysis = Analysis.model_validate_json(world.results.read(partial.analysis_uri))
    return partial.model_copy(update={"analysis": analysis})


def stored(partial: Partial, world: World) -> Partial:
    """The partial as it is created: a large analysis goes to the results bucket, and the partial points to it."""
    if partial.analysis is None or len(partial.model_dump_json()) <= PARTIAL_INLINE_BYTES:
        return partial
    uri = world.results.create(_path(partial), partial.analysis.model_dump_json().encode(), "application/json")
    return partial.model_copy(update={"analysis": None, "analysis_uri": uri})


def copied(partial: Partial, world: World) -> Partial:
    """The partial with a copy of its own of an analysis in the results bucket. Raises NotFound if that is gone.

    Copies bytes without reading them: the analysis of ten hours would not fit into ingest's memory.
    """
    if partial.analysis_uri is None:
        return partial
    uri = world.results.create(_path(partial), world.results.read(partial.analysis_uri), "application/json")
    return partial.model_copy(update={"analysis_uri": uri})


def _path(partial: Partial) -> str:
    """Where a large analysis lies.

    The attempt's number is in the name, so that an attempt that loses the race never shares an object with the winner.
    """
    work = work_key(partial.stage, partial.part.number if partial.part else None)
    return f"{partial.recording_id}/r{partial.revision}/partials/{work}.{partial.attempt}.json"
