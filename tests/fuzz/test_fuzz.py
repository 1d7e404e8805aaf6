"""A few hundred inputs for every target, and tests that the fuzzer finds what it should."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from speechpipe.contract.errors import ErrorCode, Rejected
from tests.fuzz import __main__ as fuzz
from tests.fuzz import decoder
from tests.fuzz.seeds import media
from tests.fuzz.targets import Target, targets
from workers.audio.decoder import Head
from workers.audio.decoder_process import MEMORY_BYTES


@pytest.mark.parametrize("name", [fuzz.DECODER, *targets()])
def test_any_input_is_read_or_refused(name: str, tmp_path: Path) -> None:
    run = fuzz.Fuzz(2026, tmp_path)
    run.run(name, inputs=300, seconds=0)
    assert run.findings == [], [path.with_suffix(".txt").read_text() for path in run.findings]
    assert run.outcomes[name].total() == 300
    assert len(run.outcomes[name]) > 1, "all inputs have the same outcome: the mutations do not reach far"


def test_the_same_seed_gives_the_same_inputs() -> None:
    for name in (fuzz.DECODER, "task-push", "probe"):
        one, again, other = (fuzz.Fuzz(seed, Path()).content(name, 7) for seed in (1, 1, 2))
        assert one == again != other


def test_an_exception_that_leaks_is_found_kept_and_replayed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(body: bytes) -> str:
        if body > b"\x80":
            raise OverflowError("leaked")
        return "read"

    leaky = {"leaky": Target("leaky", lambda rng: rng.randbytes(4), run)}
    monkeypatch.setattr(fuzz, "targets", lambda: leaky)
    status = fuzz.main(["--targets", "leaky", "--inputs", "20", "--seed", "1", "--findings", str(tmp_path)])
    found = sorted(tmp_path.glob("*.input"))
    assert status == 1
    assert found
    assert "leaked" in found[0].with_suffix(".txt").read_text()
    assert fuzz.main(["--replay", *map(str, found)]) == 1
    assert f"{found[0].name}: finding" in capsys.readouterr().out


def test_a_crash_a_hang_and_a_leaky_message_are_found_and_other_inputs_are_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def decode_stream(path: Path, **_: object) -> Iterator[Head]:
        content = path.read_bytes()
        if content == b"crash":
            os.kill(os.getpid(), signal.SIGKILL)
        while content == b"hang":
            pass
        if content == b"memory":
            bytearray(2 * MEMORY_BYTES)
        if content == b"tells":
            raise Rejected(ErrorCode.DECODE_FAILED, f"[Errno 5] {path}")
        if content == b"leaks":
            raise OSError(str(path))
        yield Head(None)
        raise Rejected(ErrorCode.DECODE_FAILED, "the file is damaged")

    monkeypatch.setattr(decoder, "decode_stream", decode_stream)
    monkeypatch.setattr(decoder, "MOST_SECONDS", 1.0)
    contents = [b"a", b"crash", b"b", b"hang", b"memory", b"tells", b"leaks", b"c"]
    outcomes = list(decoder.run_batch(list(enumerate(contents))))
    assert [outcome.index for outcome in outcomes] == list(range(8))
    assert {contents[outcome.index]: outcome.how for outcome in outcomes} == {
        **dict.fromkeys((b"a", b"b", b"c"), "decode_failed"),
        **dict.fromkeys((b"crash", b"hang", b"tells", b"leaks"), "finding"),
        b"memory": "memory",
    }
    assert "SIGKILL" in outcomes[1].detail
    assert "SIGPROF" in outcomes[3].detail


def test_an_input_rarely_equals_its_seed() -> None:
    changed = [decoder.make(random.Random(number)) for number in range(50)]
    assert sum(content in media() for content in changed) < 5
