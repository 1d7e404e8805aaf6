"""Object names from the bucket to the event and back, over real HTTP."""

from __future__ import annotations

import json

import pytest

from speechpipe.contract import Status
from speechpipe.contract.wire import gs_uri
from tests.emulators.conftest import PREFIX, TEST_SECONDS, User
from tests.names import ODD_NAMES, filled

pytestmark = [pytest.mark.emulators, pytest.mark.timeout(TEST_SECONDS)]

LONGEST = PREFIX + filled("/%\u202e🎧.wav", 1024 - len(PREFIX))


def test_objects_of_any_name_become_records_and_events(user: User) -> None:
    names = [*(PREFIX + name for name in ODD_NAMES), LONGEST]
    dropped = {name: user.drop(b"RIFF0", name, ref="a") for name in names}
    for name, recording in dropped.items():
        final = user.final(recording)
        assert (final.status, final.source.name) == (Status.COMPLETED, name)
        assert [found.id for found in user.backend.store.recordings(uri=gs_uri("uploads", name))] == [recording]
        assert user.events_of(recording)[0].data.uri == gs_uri("uploads", name)
        assert final.artifacts is not None
        assert json.loads(user.backend.results.read(final.artifacts.record))["source"]["name"] == name
    assert len(LONGEST.encode()) == 1024


def test_a_rejected_object_of_any_name_is_recorded_under_its_name(user: User) -> None:
    dropped = {name: user.drop(b"", PREFIX + "empty " + name) for name in ODD_NAMES}
    for name, recording in dropped.items():
        final = user.final(recording)
        assert (final.status, final.source.name) == (Status.REJECTED, PREFIX + "empty " + name)
