"""Clearing away an erased recording: when it is erased, and whenever something of it turns up later."""

from __future__ import annotations

from speechpipe.contract import Recording
from speechpipe.pipeline import outcomes
from speechpipe.pipeline.world import World


def clear(tombstone: Recording, world: World) -> None:
    """Delete what is left of an erased recording, or arrived after it was erased. May be repeated."""
    world.store.erase(tombstone)
    world.results.delete(tombstone.id)


def announce_erased(tombstone: Recording, world: World) -> None:
    """Delete what is left and announce the erasure. May be repeated: the event's id stays the same."""
    clear(tombstone, world)
    world.bus.publish_completion(outcomes.erased_event(tombstone))
    world.store.mark_announced(tombstone.id, tombstone.revision, world.clock())
