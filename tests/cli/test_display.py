"""What people read on a terminal, in every direction."""

from __future__ import annotations

import io

from rich.console import Console

from speechpipe.cli import display
from tests.backends.examples import NOW, finished
from tests.backends.examples import recording as listed
from tests.record.test_direction import FSI, HEBREW, PDI, spoken


def printed(width: int = 100) -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, width=width), out


def test_lines_from_right_to_left_keep_their_place_between_speaker_and_emotion() -> None:
    console, out = printed()
    display.show_record(spoken(HEBREW, "Good evening.", speakers=("channel 0", "דנה")), console)
    lines = [line.strip() for line in out.getvalue().splitlines()]
    assert f"0:00  channel 0: {FSI}{HEBREW}{PDI}  neutral 80%" in lines
    assert f"0:03  {FSI}דנה{PDI}: Good evening." in [line.partition("  anger")[0] for line in lines]


def test_what_is_heard_early_does_too() -> None:
    record = spoken(HEBREW)
    text = display.early_text(listed(name="שיחה.wav"), record.segments).plain
    assert text.splitlines()[0].startswith(f"{FSI}שיחה.wav{PDI}  text")
    assert text.splitlines()[1].endswith(f"channel 0: {FSI}{HEBREW}{PDI}")


def test_names_and_texts_side_by_side_are_not_taken_for_one() -> None:
    console, out = printed(130)
    done = finished(listed(name="שיחה.wav", queued_at=NOW)).model_copy(update={"preview": "שלום, מה שלומך"})
    console.print(display.table([done], 130))
    assert out.getvalue().splitlines()[1].endswith(f"{FSI}שיחה.wav{PDI}  {FSI}שלום, מה שלומך{PDI}")
