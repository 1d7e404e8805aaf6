"""The table of odd media (`make odd-media`): which outcomes it calls right or wrong."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

from benchmarks import media
from tests.media import SAMPLES, empty_files


@pytest.mark.engines
def test_right_and_wrong_outcomes_for_a_folder_of_odd_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    rejected = empty_files(folder)
    shutil.copy(SAMPLES / "changing_mood.m4a", folder / "good.m4a")
    with (folder / media.LIST).open("w", newline="") as file:
        csv.writer(file).writerows(
            [
                ["file", "expect"],
                *([name, "reject"] for name in rejected),
                ["good.m4a", "reject"],
                ["gone.wav", "decode"],
            ]
        )
    status = media.main([str(folder), "--stages", "stt", "--output", str(tmp_path / "found.json")])
    found = json.loads((tmp_path / "found.json").read_text())["stages"]["stt"]
    rows = {row["file"]: row for row in found["files"]}
    assert {name: rows[name]["code"] for name in rejected} == {name: code for name, (_, code) in rejected.items()}
    assert all(rows[name]["right"] for name in rejected)
    assert (rows["good.m4a"]["actual"], rows["good.m4a"]["right"]) == ("decode", False)
    assert status == 1
    assert "**wrong**" in capsys.readouterr().out
    assert "good.m4a" in (tmp_path / "found.md").read_text()
    rows["good.m4a"]["right"] = True
    assert media.well({**found, "files": list(rows.values())})
    assert not media.well({**found, "files": list(rows.values()), "memory_change": 0.2})
    assert not media.well({**found, "files": list(rows.values()), "alive": False})
