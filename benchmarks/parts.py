"""A long recording in parts against the same in one piece: its words, its emotion windows, and what it costs.

    make bench-parts FOLDER=...                 FOLDER: recordings of real speech, strung together with pauses
    python -m benchmarks.parts FOLDER --seconds 3600 --part-seconds 600

Both engines run in one process, first on the whole, then part by part, with all cores each time: so the figures are
what parts cost, not what several workers gain. Whisper is tiny.en, emotion is the model on Whisper base.

Not to be quoted yet: core seconds leave out the decoder, which is another process, so what neighbours decode twice is
missing; and "near a cut" means near the planned one, which a worker moves by up to 30 s.
"""

from __future__ import annotations

import argparse
import difflib
import json
import tempfile
import time
import wave
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from faster_whisper.audio import decode_audio  # type: ignore[import-untyped]

from benchmarks.machine import machine
from speechpipe.backends.ports import Analyse
from speechpipe.contract import Analysis, Emotions, Options, Part, Partial, Plan, Stage, Transcript, Word, plan_for
from speechpipe.record.gather import gather
from speechpipe.settings import EngineSettings
from workers.models import choice

RESULTS = Path(__file__).parent / "results" / "parts.json"
MODELS = {Stage.STT: {"stt_model": "tiny.en"}, Stage.SER: {"models": "demo"}}
NEAR_A_CUT = 5.0  #: seconds


@dataclass
class Run:
    """An analysis and what it took."""

    analysis: Analysis
    wall_seconds: float
    core_seconds: float


def strung_together(folder: Path, seconds: float, into: Path) -> Path:
    """A WAV of this length: the folder's recordings in random order, with pauses of 0.3 to 1.2 s, always the same."""
    rng, pieces, length = np.random.default_rng(0), [], 0
    sounds = [decode_audio(str(path)) for path in sorted(folder.rglob("*.flac"))]
    while length < seconds * 16_000:
        for number in rng.permutation(len(sounds)):
            pause = rng.normal(0, 2e-4, int(16_000 * rng.uniform(0.3, 1.2))).astype(np.float32)
            pieces += [sounds[number], pause]
            length += len(sounds[number]) + len(pause)
    samples = (np.concatenate(pieces)[: round(seconds * 16_000)] * 32767).clip(-32768, 32767).astype(np.int16)
    with wave.open(str(into), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(samples.tobytes())
    return into


def analysed(engine: Analyse, path: Path, plan: Plan | None) -> Run:
    """Run an engine on a file, whole or part by part."""
    wall, core = time.perf_counter(), time.process_time()
    if plan is None:
        analysis = engine(path, Options(), lambda share: None)
    else:
        gathered = gather([_partial(engine, path, part) for part in plan.parts], attempt=1).analysis
        assert gathered is not None
        analysis = gathered
    return Run(analysis, time.perf_counter() - wall, time.process_time() - core)


def _partial(engine: Analyse, path: Path, part: Part) -> Partial:
    analysis = engine(path, Options(), lambda share: None, part)
    now = datetime.now(UTC)
    return Partial(recording_id="r", stage=engine.stage, part=part, started_at=now, finished_at=now, analysis=analysis)


def words_of(analysis: Analysis) -> list[Word]:
    """All words, in order."""
    assert isinstance(analysis.value, Transcript)
    return [word for segment in analysis.value.segments for word in segment.words]


def plain(word: Word) -> str:
    """A word without case and punctuation."""
    return "".join(letter for letter in word.word.lower() if letter.isalnum() or letter == "'")


def compared_words(whole: Analysis, parts: Analysis, cuts: list[float]) -> dict[str, Any]:
    """How the words differ; near a cut, how many are only in one of the two."""
    one, other = ([word for word in words_of(each) if plain(word)] for each in (whole, parts))
    matcher = difflib.SequenceMatcher(None, list(map(plain, one)), list(map(plain, other)), autojunk=False)
    changes = [change for change in matcher.get_opcodes() if change[0] != "equal"]
    near = 0
    for _, i, j, k, m in changes:
        at = one[i].start if i < len(one) else one[-1].end
        near += max(j - i, m - k) if any(abs(at - cut) <= NEAR_A_CUT for cut in cuts) else 0
    differ = sum(max(j - i, m - k) for _, i, j, k, m in changes)
    return {
        "words_whole": len(one),
        "words_parts": len(other),
        "words_that_differ": differ,
        "share": round(differ / len(one), 4),
        "of_these_within_5_s_of_a_cut": near,
    }


def compared_windows(whole: Analysis, parts: Analysis, cuts: list[float]) -> dict[str, Any]:
    """How many windows have other ends, and how many of these are near a cut."""
    assert isinstance(whole.value, Emotions)
    assert isinstance(parts.value, Emotions)
    one, other = ({(w.start, w.end) for w in each.windows} for each in (whole.value, parts.value))
    differ = one ^ other
    near = [span for span in differ if any(span[0] - 15 <= cut <= span[1] + 15 for cut in cuts)]
    return {
        "windows_whole": len(one),
        "windows_parts": len(other),
        "differ": len(differ),
        "within_15_s_of_a_cut": len(near),
    }


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=3600.0)
    parser.add_argument("--part-seconds", type=float, default=600.0)
    given = parser.parse_args()
    found: dict[str, Any] = {"machine": machine("torch", "faster-whisper"), "seconds": given.seconds}
    with tempfile.TemporaryDirectory() as name:
        path = strung_together(given.folder, given.seconds, Path(name) / "long.wav")
        plan = plan_for(given.seconds, given.part_seconds)
        assert plan is not None
        found["parts"] = plan.count
        for stage, settings in MODELS.items():
            engine = choice.load(stage, EngineSettings.model_validate(settings))
            runs = [analysed(engine, path, each) for each in (None, plan, None, plan)]  # alternating
            whole, parts = runs[0], runs[1]
            cuts = [part.start for part in plan.parts[1:]]
            compare = compared_words if stage is Stage.STT else compared_windows
            core = [sum(run.core_seconds for run in runs[first::2]) / 2 for first in (0, 1)]
            wall = [sum(run.wall_seconds for run in runs[first::2]) / 2 for first in (0, 1)]
            found[stage.value] = {
                "wall_seconds": [round(each, 1) for each in wall],
                "core_seconds": [round(each, 1) for each in core],
                "parts_to_whole": round(core[1] / core[0], 3),
                "same_length": whole.analysis.audio.duration == parts.analysis.audio.duration,
                "same_sha256": whole.analysis.audio.sha256 == parts.analysis.audio.sha256,
                **compare(whole.analysis, parts.analysis, cuts),
            }
            print(stage.value, json.dumps(found[stage.value]), flush=True)
    RESULTS.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
