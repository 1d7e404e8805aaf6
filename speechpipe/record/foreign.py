"""Languages that the emotion model did not learn from: only both halves together can tell. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from speechpipe.contract import Analysis, Caution, Emotions, LanguageSeconds, Transcript

#: Seconds of speech from which a language counts beside the recording's own: a shorter passage may be a wrong guess.
ENOUGH = 5.0


def unknown_languages(stt: Analysis, ser: Analysis) -> Iterator[Caution]:
    """A caution if languages of the transcript are not among those of the emotion model's card.

    None if either is unknown, or if there are no emotions.
    """
    if not isinstance(stt.value, Transcript) or not isinstance(ser.value, Emotions) or not ser.value.windows:
        return
    known = ser.model.languages
    foreign = [language for language in _spoken(stt.value) if language.code not in known]
    if known and foreign:
        listed = ", ".join(f"'{code}'" for code in known)
        spoken = " and ".join(f"{language.seconds:.0f} s of '{language.code}'" for language in foreign)
        message = f"the emotion model's card lists {listed} only, but the recording has {spoken}"
        yield Caution(code="language_unknown_to_model", message=message)


def _spoken(transcript: Transcript) -> Iterator[LanguageSeconds]:
    """The recording's language, and the others that are spoken for long enough."""
    main = transcript.language.code if transcript.language else None
    if main and main not in {language.code for language in transcript.languages}:
        yield LanguageSeconds(code=main, seconds=transcript.speech_seconds)
    for language in transcript.languages:
        if language.code == main or language.seconds >= ENOUGH:
            yield language
