"""Where a partial's analysis lies: in the partial while it is small, else in the results bucket."""

from __future__ import annotations

from speechpipe.contract import PARTIAL_INLINE_BYTES, Analysis, Partial
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
    # The attempt's number is in the name, so that an attempt that loses the race never shares an object with the
    # winner.
    path = f"{partial.recording_id}/r{partial.revision}/partials/{partial.stage.value}.{partial.attempt}.json"
    uri = world.results.create(path, partial.analysis.model_dump_json().encode(), "application/json")
    return partial.model_copy(update={"analysis": None, "analysis_uri": uri})
