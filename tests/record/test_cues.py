from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechpipe.contract import Segment, Word
from speechpipe.record.cues import CHARACTERS_PER_SECOND, LINE_WIDTH, MAX_SECONDS, MIN_SECONDS, PAUSE_SECONDS, Cue, cues
from speechpipe.record.fragments import width
from tests.doubles import segment
from tests.record.test_artifacts import record


def spoken(words: Sequence[tuple[str, float, float]], *, number: int = 0, channel: int = 0, gap: str = " ") -> Segment:
    """A segment of (word, start, end)."""
    made = segment(words[0][1], max(words[-1][2], words[0][1]), "-", number, channel)
    text = gap.join(word for word, _, _ in words)
    return made.model_copy(
        update={
            "text": text,
            "speaker": f"channel {channel}",
            "words": tuple(Word(word=word, start=start, end=end, confidence=1.0) for word, start, end in words),
        }
    )


def cut(*segments: Segment) -> list[Cue]:
    return cues(record(*segments, emotion_windows=()))


def evenly(text: str, seconds: float, start: float = 0.0, split: str = " ") -> list[tuple[str, float, float]]:
    words = text.split(split) if split else list(text)
    step = seconds / len(words)
    return [(word, start + n * step, start + (n + 1) * step) for n, word in enumerate(words)]


def test_each_sentence_is_a_cue() -> None:
    made = cut(spoken(evenly("I ordered a blue phone. It is not here. Where is it?", 7)))
    assert [cue.lines for cue in made] == [("I ordered a blue phone.",), ("It is not here.",), ("Where is it?",)]


def test_short_sentences_share_a_cue_rather_than_flash_up() -> None:
    made = cut(spoken(evenly("Yes. No. I do not know what happened.", 2)))
    assert [cue.lines for cue in made] == [("Yes. No. I do not know what happened.",)]


def test_a_pause_ends_a_cue() -> None:
    made = cut(spoken([*evenly("well I think", 1), *evenly("we should go", 1, start=1 + PAUSE_SECONDS)]))
    assert [cue.lines for cue in made] == [("well I think",), ("we should go",)]


def test_a_long_sentence_is_cut_at_its_clauses() -> None:
    text = "if the printer has not arrived by Friday, I would like to have my money back, because I need one at work"
    made = cut(spoken(evenly(text, 10)))
    assert [" ".join(cue.lines)[-1] for cue in made[:-1]] == [","] * (len(made) - 1)
    assert all(len(line) > 10 for cue in made for line in cue.lines)


def test_a_cue_may_span_segments_without_a_pause_between_them() -> None:
    made = cut(spoken(evenly("and then I went", 1.2)), spoken(evenly("to the shop.", 1.2, start=1.2), number=1))
    assert [cue.lines for cue in made] == [("and then I went to the shop.",)]


def test_a_change_of_emotion_starts_a_cue() -> None:
    made = cues(record(segment(0, 2, "and then I went"), segment(2.2, 4, "to the shop.", 1)))
    assert [(cue.emotion, cue.lines) for cue in made] == [
        ("neutral", ("and then I went",)),
        ("anger", ("to the shop.",)),
    ]


def test_a_cue_stays_long_enough_to_read_but_not_into_the_next() -> None:
    quick = "all of this was said in half a second"
    alone, before = cut(spoken(evenly(quick, 0.5)))[0], cut(spoken(evenly(quick, 0.5)), spoken([("Next", 1.4, 2)]))[0]
    assert alone.end == pytest.approx(len(quick) / CHARACTERS_PER_SECOND)
    assert before.end == 1.4
    assert cut(spoken([("Hm.", 3.0, 3.1)]))[0].end == 3.0 + MIN_SECONDS


def test_cues_overlap_only_while_two_channels_speak() -> None:
    made = cut(
        spoken(evenly("I was just about to say", 2)),
        spoken(evenly("No, listen to me.", 1, start=1.5), number=1, channel=1),
        spoken([("Hm.", 3.0, 3.1)], number=2),
        spoken([("What?", 3.5, 3.9)], number=3, channel=1),
    )
    assert [(cue.channel, cue.start, cue.end) for cue in made] == [
        (0, 0.0, 2.0), (1, 1.5, 2.9), (0, 3.0, 3.5), (1, 3.5, 4.3),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。何でも薄暗いじめじめした所でニャーニャー泣いていた事だけは記憶している。",
        "我昨天在网上订购了一台蓝色的打印机，但是到今天还没有收到，我想知道什么时候可以送到，谢谢您的帮助，祝您有愉快的一天。",
        "ฉันสั่งซื้อเครื่องพิมพ์สีน้ำเงินเมื่อวันพฤหัสบดีที่แล้วแต่ยังไม่ได้รับสินค้าและฉันต้องการทราบว่าจะมาถึงเมื่อไหร่ขอบคุณมากค่ะ",
    ],
    ids=["Japanese", "Chinese", "Thai"],
)
@pytest.mark.parametrize("words", [True, False], ids=["with words", "without"])
def test_text_without_spaces_is_cut_by_its_width(text: str, words: bool) -> None:
    said = spoken(evenly(text, 20, split=""), gap="")
    made = cut(said if words else said.model_copy(update={"words": ()}))
    lines = [line for cue in made for line in cue.lines]
    assert "".join(lines) == text
    assert max(map(width, lines)) <= LINE_WIDTH
    assert len(made) < 10
    if not words:  # words from a recogniser are never split or joined, so the rule does not apply to them
        assert not [line for line in lines if line[0] in "、。，ーっ่้ีิ" or line[-1] in "เแโใไ"]


def test_right_to_left_text_is_not_reordered() -> None:
    made = cut(spoken(evenly("أريد أن أعرف متى ستصل الطابعة؟ شكرا", 3)))
    assert " ".join(line for cue in made for line in cue.lines) == "أريد أن أعرف متى ستصل الطابعة؟ شكرا"


def test_words_that_do_not_match_the_text_are_ignored() -> None:
    other = spoken(evenly("something else", 2)).model_copy(update={"text": "the text"})
    assert [cue.lines for cue in cut(other)] == [("the text",)]


def test_an_hour_without_a_pause_or_a_full_stop() -> None:
    made = cut(spoken(evenly(" ".join(["word"] * 9000), 3600)))
    assert all(cue.end - cue.start <= MAX_SECONDS for cue in made)
    assert sum(len(" ".join(cue.lines).split()) for cue in made) == 9000
    assert len(made) < 1000


WORDS = st.one_of(
    st.sampled_from(["a", "the", "printer", "yes.", "well,", "-->", "<b>", "猫である。", "ที่แล้ว", "متى", "—"]),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60),
)
TIMES = st.floats(0, 4, allow_nan=False)


@st.composite
def talk(draw: st.DrawFn) -> list[Segment]:
    """Anything that a recogniser might return: two channels, any words, times that stand still or overlap."""
    segments, clock = [], [0.0, 0.0]
    for number in range(draw(st.integers(1, 5))):
        channel, words = draw(st.integers(0, 1)), []
        for _ in range(draw(st.integers(1, 30))):
            start = clock[channel] + draw(st.sampled_from([0.0, 0.0, 0.05, 0.3, 1.2]))
            end = start + draw(st.sampled_from([0.0, 0.1, 0.3, 0.5, 9.0]))
            words.append((draw(WORDS), start, end))
            clock[channel] = end if draw(st.integers(0, 9)) else start
        segments.append(spoken(words, number=number, channel=channel, gap=draw(st.sampled_from([" ", ""]))))
    return segments


@given(talk())
def test_limits_hold_for_any_transcript(segments: list[Segment]) -> None:
    made = cut(*segments)
    starts = sorted(cue.start for cue in made)
    assert [cue.start for cue in made] == starts
    for cue in made:
        assert 1 <= len(cue.lines) <= 2
        assert width(cue.label + cue.lines[0]) <= LINE_WIDTH
        assert all(line and width(line) <= LINE_WIDTH and line == line.strip() for line in cue.lines)
        assert 0 < cue.end - cue.start <= MAX_SECONDS + 1e-6
        # A cue may be too short to read only if the next one, on any channel, starts then.
        quick = cue.end - cue.start < max(MIN_SECONDS, cue.width / CHARACTERS_PER_SECOND) - 0.002
        assert not quick or any(abs(start - cue.end) < 0.002 or cue.start <= start < cue.end for start in starts)
    for channel in (0, 1):
        mine = [cue for cue in made if cue.channel == channel]
        assert all(one.end <= other.start for one, other in pairwise(mine))
        said = "".join(s.text for s in segments if s.channel == channel)
        shown = "".join(line for cue in mine for line in cue.lines)
        assert re.sub(r"[\s\x00-\x1f\x7f-\x9f]", "", shown) == re.sub(r"[\s\x00-\x1f\x7f-\x9f]", "", said)
