"""The operators' commands on a folder: what they print, what they change, and their exit status."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
import wave
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from speechpipe import Client, cli
from speechpipe.backends.local.folder import FolderUploads
from speechpipe.backends.local.store import SqliteStore
from speechpipe.cli import terminal
from speechpipe.contract import HalfStatus, Recording, Retained, Source, Stage, Status
from speechpipe.embedded import consumer
from speechpipe.pipeline.backfill import Outcome, Throttle
from speechpipe.pipeline.ingest import ingest
from speechpipe.pipeline.world import World
from tests.doubles import FixedEngine, ready

pytestmark = pytest.mark.slow  # together over ten seconds

Run = Callable[..., tuple[int, str, str]]


class Here:
    """A folder, its engines, and the command line on it."""

    def __init__(self, folder: Path, run: Run, engines: dict[Stage, FixedEngine]) -> None:
        self.folder, self.run, self.engines = folder, run, engines

    def submit(self, *names: str) -> list[str]:
        """Upload files, process them until nothing is left to do, and return their ids."""
        client = Client(self.folder)
        (self.folder.parent / "upload").write_bytes(b"audio")
        ids = [client.submit(self.folder.parent / "upload", name=name).id for name in names]
        self.work()
        return ids

    def work(self) -> None:
        self.run("run", str(self.folder))

    def recording(self, recording_id: str) -> Recording:
        found = Client(self.folder).find(recording_id)
        assert found is not None
        return found

    def events(self) -> list[str]:
        """Take the events that were published; all are in the queue when a command has ended."""
        return sorted(event.id for event in Client(self.folder).completions(timeout=1))


@pytest.fixture
def here(folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Here:
    """The command line in this process, with fixed engines and one attempt per stage."""
    monkeypatch.setenv("SPEECHPIPE_DIR", str(folder))
    monkeypatch.setattr(terminal.out, "_width", 200)  # COLUMNS is read once, when the module is imported
    engines = {stage: FixedEngine(stage) for stage in Stage}
    monkeypatch.setattr("speechpipe.cli.app.find_engines", lambda settings, on_bytes: ready(engines)())
    monkeypatch.setattr(consumer, "MAX_ATTEMPTS", 1)
    monkeypatch.setattr(consumer, "MAX_BACKOFF_SECONDS", 0.05)
    monkeypatch.setattr("speechpipe.cli.display.REFRESH_SECONDS", 0.05)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["speechpipe", *arguments])
        monkeypatch.setattr("sys.stdin", io.StringIO())  # no answer to a prompt
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capfd.readouterr()
        code = ended.value.code
        return (code if isinstance(code, int) else 0), out, err

    return Here(folder, run, engines)


@pytest.fixture
def partial(here: Here) -> str:
    """A recording whose emotions failed. The engine works again."""
    here.engines[Stage.SER].error = RuntimeError("broken")
    (recording_id,) = here.submit("call.wav")
    here.engines[Stage.SER].error = None
    assert here.recording(recording_id).status is Status.PARTIAL
    return recording_id


# ------------------------------------------------------------------------------------------------- redrive


def test_only_the_failed_half_is_redriven(here: Here, partial: str) -> None:
    status, out, err = here.run("redrive", "--partial", "--dry-run")
    assert (status, out.split()) == (0, [partial, "ser", "call.wav"])
    assert "1 recording would be redriven" in err
    assert here.recording(partial).revision == 1
    assert here.run("redrive", "--failed")[1] == ""
    status, out, err = here.run("redrive", "--partial", "--failed", "--since", "2h")
    assert (status, out.split()) == (0, [partial, "ser", "call.wav"])
    assert "1 recording redriven" in err
    runs = here.engines[Stage.STT].runs
    here.work()
    done = here.recording(partial)
    assert (done.status, done.revision) == (Status.COMPLETED, 2)
    assert here.engines[Stage.STT].runs == runs
    assert here.events() == [f"{partial}.r1.partial", f"{partial}.r2.completed"]
    assert f"{partial}  completed r2" in here.run("list")[1]
    story = here.run("explain", partial)[1]
    for words in (
        "model_error",
        "revision 2: ser rerun, stt kept",
        "r2: attempt 1",
        "r2: fixed",
        "ended as completed",
    ):
        assert words in story


def test_a_corrected_option_takes_effect_with_the_next_redrive(here: Here) -> None:
    (recording_id,) = here.submit("call.wav")
    sidecar = here.folder / "call.wav.meta.json"
    sidecar.write_text('{"language": "Deutsch"}')
    expected = [recording_id, "stt", "and", "ser,", "with", "changed", "options", "call.wav"]
    assert here.run("redrive", "call.wav", "--stage", "ser", "--dry-run")[1].split() == expected
    assert here.recording(recording_id).revision == 1
    status, out, _ = here.run("redrive", "call.wav", "--stage", "ser")
    assert (status, out.split()) == (0, expected)
    here.work()
    done = here.recording(recording_id)
    assert (done.status, done.revision, done.options.language) == (Status.COMPLETED, 2, "de")
    sidecar.write_text('{"language": "klingon"}')
    status, _, err = here.run("redrive", "call.wav")
    assert status == 1
    assert "'klingon'" in err
    assert here.recording(recording_id) == done
    sidecar.write_text('{"emotion": "no"}')
    assert here.run("redrive", "call.wav", "--stage", "ser")[1].split()[1:6] == [
        "stt,",
        "with",
        "changed",
        "options",
        "call.wav",
    ]


def test_a_redrive_since_a_time_continues_where_it_stopped_and_skips_what_was_redriven(here: Here) -> None:
    ids = here.submit(*(f"{number}.wav" for number in range(5)))
    here.run("redrive", ids[2], "--stage", "stt")  # as if it had been stopped after this recording
    here.work()
    status, out, err = here.run("redrive", "--since", "1d")
    assert status == 0
    assert {line.split()[0] for line in out.splitlines()} == set(ids) - {ids[2]}
    assert all("stt and ser" in line for line in out.splitlines())
    assert "4 recordings redriven" in err
    here.work()
    assert here.run("redrive", "--since", "1d")[1] == ""
    assert {here.recording(one).revision for one in ids} == {2}


def test_a_recording_that_cannot_be_redriven_does_not_stop_the_others(here: Here) -> None:
    (first,) = here.submit("a.wav")
    second = Client(here.folder).submit(here.folder.parent / "upload", name="b.wav")  # not ingested yet
    status, out, err = here.run("redrive", "nobody.wav", second.id, first)
    assert status == 1
    assert out.split()[0] == first
    assert "nobody.wav" in err
    assert second.id in err
    assert here.run("redrive")[0] == 2
    assert here.run("redrive", first, "--failed")[0] == 2
    assert "neither a time" in here.run("redrive", "--since", "yesterday")[2]


def test_redriving_twice_changes_nothing(here: Here, partial: str) -> None:
    for _ in range(3):
        assert here.run("redrive", partial)[:2] == (0, f"{partial}  ser  call.wav\n")
    here.work()
    assert here.recording(partial).revision == 2


# -------------------------------------------------------------------------------------------------- replay


def test_outcomes_are_announced_again_with_the_same_ids(here: Here) -> None:
    one, two = here.submit("a.wav", "b.wav")
    first = here.events()
    status, out, _ = here.run("replay", "--since", "1h", "--notify-only")
    assert status == 0
    assert {line.split()[0] for line in out.splitlines()} == {one, two}
    assert here.events() == first
    assert here.run("replay", one)[0] == 0
    assert here.events() == [f"{one}.r1.completed"]
    assert here.recording(one).revision == 1
    assert here.run("replay", "nobody")[0] == 1
    assert here.run("replay")[0] == 2


# --------------------------------------------------------------------------------------------------- erase


def test_erase_asks_and_leaves_no_trace_of_the_content(
    here: Here, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    name = "Jane-Doe-complaint.wav"
    first, *_ = here.submit(name)
    second, *_ = here.submit(name)  # another upload with the same name
    assert first != second
    here.run("redrive", second)  # its tasks, which have the name, are queued
    status, _, err = here.run("erase", name, "--upload")
    assert status == 1
    assert "Erase 2 recordings and their uploads?" in err
    assert here.recording(first).status is Status.COMPLETED
    status, out, _ = here.run("erase", name, "--upload", "--yes")
    assert (status, {line.split()[0] for line in out.splitlines()}) == (0, {first, second})
    assert not (here.folder / name).exists()
    here.work()
    left = [path for path in here.folder.rglob("*") if path.is_file()]
    for text in (b"Jane-Doe", b"where is my order", b"my order"):
        assert [path for path in left if text in path.read_bytes()] == []
    assert {event.rpartition(".")[2] for event in here.events()} >= {"erased"}
    assert here.run("erase", first, second, "--yes")[:2] == (0, f"{first}  already erased\n{second}  already erased\n")
    story = here.run("explain", second)[1]
    assert "everything except this id was erased" in story
    assert "ended as erased" in story
    assert "erased" in here.run("list")[1]


def test_an_upload_under_retention_stays_and_erase_says_until_when(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder retains nothing, so its deletion is replaced by the answer that a bucket gives."""
    [one] = here.submit("kept.wav")
    retained = Retained(until=datetime(2999, 1, 31, 12, tzinfo=UTC))
    monkeypatch.setattr(FolderUploads, "delete", lambda self, source: retained)
    uri = here.recording(one).source.uri
    status, out, err = here.run("erase", one, "--upload", "-y")
    assert (status, out) == (1, f"{one}  erased  kept.wav\n")
    said = " ".join(err.split())
    assert f"{one} its upload stays until 2999-01-31 12:00:00Z; {uri}#" in said
    assert "can be deleted then" in said
    assert here.recording(one).status is Status.ERASED
    assert "the upload could not be: it stays until 2999-01-31" in " ".join(here.run("explain", one)[1].split())
    status, out, err = here.run("erase", "kept.wav", "--upload", "-y")
    assert (status, out) == (1, f"{one}  already erased\n")
    assert "its upload stays until 2999-01-31 12:00:00Z" in " ".join(err.split())


def test_an_erased_recording_is_found_by_its_file_while_that_exists(here: Here) -> None:
    (one,) = here.submit("kept.wav")
    assert here.run("erase", "kept.wav", "-y")[0] == 0
    for name in ("kept.wav", (here.folder / "kept.wav").as_uri()):
        assert here.run("erase", name)[:2] == (0, f"{one}  already erased\n")
    here.work()
    assert here.recording(one).status is Status.ERASED
    assert here.run("erase", "kept.wav", "--upload")[:2] == (0, f"{one}  already erased\n")
    assert not (here.folder / "kept.wav").exists()
    assert here.run("erase", "other.wav", "-y")[0] == 1


# -------------------------------------------------------------------------------------------- dead letters


def test_a_dead_letter_is_listed_shown_and_redriven(here: Here, partial: str) -> None:
    _, out, _ = here.run("dead-letters", "list", "--json")
    (letter,) = map(json.loads, out.splitlines())
    assert (letter["state"], letter["task"]["recording_id"], letter["deliveries"]) == ("open", partial, 1)
    assert "call.wav" in here.run("dead-letters", "list")[1]
    assert "attempt 1" in here.run("dead-letters", "show", partial)[1]
    status, out, _ = here.run("dead-letters", "redrive", letter["id"])
    assert (status, out.split()) == (0, [partial, "ser", "redriven", "call.wav"])
    assert "no dead letters" in here.run("dead-letters", "list")[2]
    here.work()
    assert here.recording(partial).status is Status.COMPLETED
    assert "there is no dead letter" in here.run("dead-letters", "redrive", letter["id"])[2]


def test_letters_of_a_recording_that_has_completed_since_are_removed(here: Here, partial: str) -> None:
    here.run("redrive", partial)
    here.work()
    assert "resolved" in here.run("dead-letters", "list")[1]
    status, out, _ = here.run("dead-letters", "redrive", "--all")
    assert (status, "resolved, removed" in out) == (0, True)
    assert here.recording(partial).revision == 2
    assert "no dead letters" in here.run("dead-letters", "list")[2]


def test_both_stages_of_a_recording_are_redriven_together(here: Here) -> None:
    for engine in here.engines.values():
        engine.error = RuntimeError("broken")
    (one,) = here.submit("both.wav")
    for engine in here.engines.values():
        engine.error = None
    assert here.recording(one).status is Status.FAILED
    assert here.run("dead-letters", "redrive", "--all")[1].split() == [
        one,
        "ser",
        "and",
        "stt",
        "redriven",
        "both.wav",
    ]
    here.work()
    done = here.recording(one)
    assert (done.status, done.revision) == (Status.COMPLETED, 2)
    assert all(half.status is HalfStatus.COMPLETED for half in done.halves.values())


# ------------------------------------------------------------------------------------------------ backfill


def put(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"audio")


def counts(out: str) -> dict[str, int]:
    words = out.partition(" (")[0].split(", ")
    return {word.split()[1]: int(word.split()[0]) for word in words}


def test_backfill_makes_the_recordings_that_the_events_would_have_made(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    (known,) = here.submit("calls/known.wav")
    put(here.folder, "calls/a.wav", "calls/b.wav", "other/c.wav")
    (here.folder / "calls/bad.wav").touch()
    expected = {"new": 2, "known": 1, "held": 0, "rejected": 1, "ignored": 0}
    assert counts(here.run("backfill", "calls/", "--dry-run")[1]) == expected
    assert len(Client(here.folder).recordings()) == 1
    status, out, _ = here.run("backfill", "calls/", "--rate", "1000")
    assert (status, counts(out)) == (0, expected)
    assert counts(here.run("backfill", "calls/")[1]) == {**expected, "new": 0, "known": 4, "rejected": 0}
    made = {each.source.name: each for each in Client(here.folder).recordings()}
    assert set(made) == {"calls/known.wav", "calls/a.wav", "calls/b.wav", "calls/bad.wav"}
    assert all(each.id == each.source.recording_id for each in made.values())
    runs = here.engines[Stage.STT].runs
    here.work()
    assert here.engines[Stage.STT].runs == runs + 3  # a, b and c: the folder scan saw them too, and nothing ran twice
    assert here.recording(known).revision == 1
    monkeypatch.setenv("SPEECHPIPE_UPLOADS_PREFIX", "calls/")
    put(here.folder, "other/d.wav")
    assert counts(here.run("backfill", "other/")[1]) == {**dict.fromkeys(expected, 0), "known": 1, "ignored": 1}
    assert counts(here.run("backfill", "calls/", "--until", "2020-01-01")[1]) == dict.fromkeys(expected, 0)


def test_a_killed_backfill_resumes_and_takes_each_object_once(here: Here) -> None:
    names = [f"{number:03}.wav" for number in range(40)]
    put(here.folder, *names)
    # The last kill comes seconds before the end at this rate, so a busy machine is not late for it.
    command = [sys.executable, "-m", "speechpipe.cli", "backfill", "", "--rate", "10"]
    environment = {**os.environ, "SPEECHPIPE_DIR": str(here.folder)}
    store = Client(here.folder).backend.store
    killed = 0
    for enough in (5, 10, 15):
        resume = ["--resume"] if enough > 5 else []
        process = subprocess.Popen([*command, *resume], env=environment, stdout=subprocess.DEVNULL)
        while process.poll() is None and len(store.recordings(limit=100)) < enough:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
    assert killed == 3
    status, _, err = here.run("backfill", "")
    assert (status, "--resume" in err) == (2, True)
    status, out, _ = here.run("backfill", "", "--resume", "--rate", "1000")
    assert (status, counts(out)) == (0, {"new": 40, "known": 0, "held": 0, "rejected": 0, "ignored": 0})
    assert sorted(each.source.name for each in store.recordings(limit=100)) == names
    assert counts(here.run("backfill", "")[1])["known"] == 40  # the ledger was finished, so this is a new backfill


def test_a_backfill_says_that_it_waits_for_the_queue_and_goes_on_below_the_limit(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(here.folder, *(f"{number}.wav" for number in range(3)))
    waiting = [2, 2, 1]  # somebody else's; after that, two may be made before the next look
    monkeypatch.setattr(SqliteStore, "count_unfinished", lambda store: waiting.pop(0) if waiting else 0)
    monkeypatch.setattr("speechpipe.pipeline.backfill.LOOK_SECONDS", 0.0)
    status, out, err = here.run("backfill", "", "--rate", "1000", "--max-unfinished", "2")
    assert (status, counts(out)["new"], waiting) == (0, 3, [])
    assert err.splitlines() == ["waiting, 2 recordings are unfinished: going on below 2 (--max-unfinished)"]


def test_an_object_that_fails_is_reported_and_retried_on_resume(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    put(here.folder, *(f"{number}.wav" for number in range(4)))

    def failing(source: Source, world: World) -> Recording | None:
        if source.name == "1.wav":
            raise OSError("no way")
        return ingest(source, world)

    with monkeypatch.context() as patched:
        patched.setattr("speechpipe.pipeline.backfill.ingest", failing)
        status, out, err = here.run("backfill", "")
    assert (status, counts(out)["new"]) == (1, 3)
    assert "1.wav: no way" in err
    status, out, _ = here.run("backfill", "", "--resume")
    assert (status, counts(out)["new"]) == (0, 4)


def test_a_backfilled_object_over_a_cap_is_held(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    with wave.open(str(here.folder / "a.wav"), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(bytes(64_000))
    monkeypatch.setenv("SPEECHPIPE_MAX_DURATION", "1")
    status, out, _ = here.run("backfill", "")
    assert (status, counts(out)["held"]) == (0, 1)


def test_the_throttle_is_even_and_does_not_catch_up() -> None:
    now, slept = 0.0, list[float]()

    def sleep(seconds: float) -> None:
        nonlocal now
        slept.append(round(seconds, 6))
        now += seconds

    throttle = Throttle(4, clock=lambda: now, sleep=sleep)
    for _ in range(3):
        throttle.wait()
    assert slept == [0.25, 0.25]
    now += 10  # one recording was slow
    for _ in range(2):
        throttle.wait()
    assert slept == [0.25, 0.25, 0.25]


def test_every_outcome_is_counted() -> None:
    assert [outcome.value for outcome in Outcome] == ["new", "known", "held", "rejected", "ignored"]


# ------------------------------------------------------------------------------------------------- pages


def test_more_than_one_page_is_selected(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("speechpipe.client.client.PAGE", 3)
    ids = here.submit(*(f"{number}.wav" for number in range(8)))
    _, out, _ = here.run("redrive", "--since", "1h", "--stage", "ser")
    assert sorted(line.split()[0] for line in out.splitlines()) == sorted(ids)


def test_hostile_names_cannot_steer_the_terminal(here: Here, partial: str) -> None:
    name = "a\x1b]0;pwned\x07[red]\u202e\x9b2J\nrec_forged  completed.wav"
    here.engines[Stage.SER].error = RuntimeError("broken")
    here.submit(name)
    for arguments in (
        ("redrive", "--partial"),
        ("dead-letters", "list"),
        ("dead-letters", "show", name),
        ("replay", "--since", "1h"),
        ("erase", name),
        ("backfill", name),
        ("dead-letters", "redrive", "--all"),
        ("erase", name, "--yes"),
    ):
        _, out, err = here.run(*arguments)
        shown = [line for line in (out + err).split("\n") if line.strip()]
        assert shown, arguments
        assert all(line.isprintable() for line in shown), arguments
        assert not any(line.lstrip().startswith("rec_forged") for line in shown), arguments


# ----------------------------------------------------------------------------------------------- reconcile


def aged(folder: Path, *names: str, hours: float) -> None:
    """Make files that many hours old."""
    put(folder, *names)
    for name in names:
        os.utime(folder / name, (time.time() - hours * 3600,) * 2)


def test_reconcile_finds_uploads_without_a_document_and_tells_what_became_of_them(here: Here) -> None:
    here.submit("known.wav")
    aged(here.folder, "known.wav", hours=3)  # another generation, which nobody has seen
    aged(here.folder, "calls/lost.wav", hours=2)
    aged(here.folder, "old.wav", hours=50)
    put(here.folder, "young.wav")
    (here.folder / "bad.wav").touch()
    os.utime(here.folder / "bad.wav", (time.time() - 7200,) * 2)
    (before,) = Client(here.folder).recordings()

    status, dry, err = here.run("reconcile", "--since", "1d", "--dry-run")
    assert (status, Client(here.folder).recordings()) == (0, [before])
    assert "nothing was changed" in err
    status, out, err = here.run("reconcile", "--since", "1d")
    assert (status, out) == (0, dry)
    *lines, total = out.splitlines()
    assert {line.split()[-1]: line.split()[-2] for line in lines} == {
        "bad.wav": "rejected",
        "calls/lost.wav": "new",
        "known.wav": "new",
    }
    assert total == "5 listed, 3 looked up, 3 without a document: 2 new, 0 held, 1 rejected, 0 failed"
    assert "1 younger than an hour" in err
    assert {each.source.name for each in Client(here.folder).recordings()} == {"known.wav", "calls/lost.wav", "bad.wav"}
    again = here.run("reconcile", "--since", "1d")[1]
    assert again == "5 listed, 3 looked up, 0 without a document: 0 new, 0 held, 0 rejected, 0 failed\n"
    assert "neither a time" in here.run("reconcile", "--since", "yesterday")[2]


def test_reconcile_tells_which_upload_could_not_be_processed(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    aged(here.folder, "a.wav", "b.wav", hours=2)

    def failing(source: Source, world: World) -> Recording | None:
        if source.name == "a.wav":
            raise OSError("no way")
        return ingest(source, world)

    monkeypatch.setattr("speechpipe.pipeline.backfill.ingest", failing)
    status, out, err = here.run("reconcile", "--since", "1d")
    assert (status, "2 without a document: 1 new" in out, "1 failed" in out) == (1, True, True)
    assert "a.wav: no way" in err
