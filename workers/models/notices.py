"""The cautions about models that stand in for the default ones: at the terminal, and in every record."""

from __future__ import annotations

from speechpipe.contract import Caution, Stage

_HALVES = {
    Stage.STT: "speech to text uses the bundled toy model, which knows about 200 English words and synthetic voices",
    Stage.SER: "emotion uses the bundled toy model, which knows only synthetic voices",
}


def toy_models(stage: Stage, because: str | None) -> Caution:
    """The caution of a toy model. `because` says why another could not be had; None if the toy was asked for."""
    if because is None:
        message = (
            "bundled toy models are in use: they know about 200 English words and synthetic voices, and nothing else."
            " For real recordings use --models auto, or name folders (SPEECHPIPE_STT_MODEL, SPEECHPIPE_SER_MODEL)"
        )
    else:
        message = f"{_HALVES[stage]}. Another can be named with SPEECHPIPE_{stage.name}_MODEL ({because})"
    return Caution(code="demo_models", message=message)


def acted_emotions() -> Caution:
    """The caution of the emotion model that is put together here, in place of the default."""
    message = (
        "emotion uses a small model of four emotions that learned from seven German actors:"
        " it is often wrong about other voices. Another can be named with SPEECHPIPE_SER_MODEL"
    )
    return Caution(code="acted_emotions", message=message)


def smaller_model(name: str) -> Caution:
    """The caution of a Whisper model from packages in place of the default."""
    message = f"the smaller Whisper model {name} was used, because the model hub could not be reached"
    return Caution(code="smaller_model", message=message)


def assumed_labels(name: str) -> Caution:
    """The caution of a model without label names that is taken for the default one by its shape."""
    message = (
        f"the labels of the emotion model {name} have no names; those of CAiRE's were taken, whose shape it has."
        " SPEECHPIPE_SER_LABELS names others"
    )
    return Caution(code="labels_assumed", message=message)
