from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechpipe.contract import Stage
from speechpipe.record.combine import combine
from speechpipe.record.cues import cues
from speechpipe.record.exports import to_deepgram
from speechpipe.record.joining import join_texts
from tests.doubles import TRANSCRIPT, segment
from tests.record.test_artifacts import record
from tests.record.test_combine import partial, recording


@pytest.mark.parametrize(
    ("texts", "joined"),
    [
        (["Where is it?", "Here."], "Where is it? Here."),
        (["Где он?", "Здесь."], "Где он? Здесь."),
        (["안녕하세요.", "반갑습니다."], "안녕하세요. 반갑습니다."),
        (["ｱﾘｶﾞﾄｳ", "ﾊﾞｲ"], "ｱﾘｶﾞﾄｳﾊﾞｲ"),
        (["吾輩は猫である。", "名前はまだ無い。"], "吾輩は猫である。名前はまだ無い。"),
        (["你好吗?", "我很好"], "你好吗?我很好"),
        (["สวัสดี", "ขอบคุณ"], "สวัสดีขอบคุณ"),
        (["ສະບາຍດີ", "ຂອບໃຈ"], "ສະບາຍດີຂອບໃຈ"),
        (["សួស្តី", "អរគុណ"], "សួស្តីអរគុណ"),
        (["မင်္ဂလာပါ။", "ကျေးဇူးတင်ပါတယ်"], "မင်္ဂလာပါ။ကျေးဇူးတင်ပါတယ်"),
        (["𠮷野家", "𠮟る"], "𠮷野家𠮟る"),
    ],
)
def test_texts_are_joined_as_their_script_is_written(texts: list[str], joined: str) -> None:
    assert join_texts(texts) == joined


@pytest.mark.parametrize(("left", "right"), [("我喜欢", "jazz."), ("I like", "爵士乐"), ("한국어", "中文")])
def test_one_script_without_spaces_at_the_joint_is_enough(left: str, right: str) -> None:
    assert join_texts([left, right]) == left + right


def test_the_characters_at_the_joint_decide_not_the_rest() -> None:
    assert join_texts(["我喜欢 jazz.", "Really 真的?", "Yes."]) == "我喜欢 jazz. Really 真的?Yes."


def test_punctuation_at_the_joint_leaves_it_to_the_letters() -> None:
    assert join_texts(["“你好!”", "“再见!”"]) == "“你好!”“再见!”"
    assert join_texts(["“Hello!”", "“Bye!”"]) == "“Hello!” “Bye!”"
    assert join_texts(["...", "?"]) == "... ?"


def test_empty_texts_leave_no_double_space() -> None:
    assert join_texts([" a ", "", "  ", "b\n"]) == "a b"
    assert join_texts([]) == join_texts([" "]) == ""


@given(st.lists(st.text(max_size=5)))
def test_nothing_but_spaces_is_added_or_lost(texts: list[str]) -> None:
    joined = join_texts(texts)
    assert "".join(joined.split()) == "".join("".join(texts).split())
    assert joined == joined.strip()


def test_the_record_its_exports_and_its_subtitles_agree() -> None:
    for texts, expected in (
        (["你好", "再见"], "你好再见"),
        (["ไป", "มา"], "ไปมา"),
        (["네", "아니요"], "네 아니요"),
        (["中", "a"], "中a"),
    ):
        spoken = tuple(segment(n / 4, n / 4 + 0.25, text, n) for n, text in enumerate(texts))
        transcript = TRANSCRIPT.model_copy(update={"segments": spoken})
        made = combine(recording(), {Stage.STT: partial(Stage.STT, value=transcript), Stage.SER: partial(Stage.SER)})
        assert made is not None
        assert made.text == expected
        assert f'"transcript": "{expected}"' in to_deepgram(made)
        assert [cue.lines for cue in cues(record(*spoken, emotion_windows=()))] == [(expected,)]
