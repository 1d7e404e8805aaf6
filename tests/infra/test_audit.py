"""`make audit`: pins against advisories, and where those come from."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from packaging.version import Version

from infra import audit

HASH = " \\\n    --hash=sha256:" + "0" * 64
BELOW_2: dict[str, Any] = {
    "id": "PYSEC-1",
    "aliases": ["CVE-1"],
    "affected": [
        {
            "package": {"ecosystem": "PyPI", "name": "Flask_Thing"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "2.0"}]}],
        }
    ],
}


def advisory(*events: dict[str, str], versions: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    ranges = [{"type": "ECOSYSTEM", "events": list(events)}]
    affected = [{"package": {"ecosystem": "PyPI", "name": "x"}, "ranges": ranges, "versions": list(versions)}]
    return {"id": "A", "affected": affected, **more}


def test_our_own_pins_are_exact_hashed_where_they_go_into_images_and_not_known_to_be_vulnerable(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert audit.main([]) == 0
    told = capsys.readouterr().out
    assert "6 files" in told
    assert ": 0 vulnerable pins" in told


@pytest.mark.parametrize(
    ("pin", "id_"),
    [
        ("jinja2==2.11.2", "PYSEC-2021-66"),
        ("Werkzeug==3.0.0", "PYSEC-2023-221"),
        ("urllib3==1.26.17", "PYSEC-2023-212"),
        ("urllib3==2.0.6", "PYSEC-2023-212"),
        ("torch==1.13.0+cu117", "PYSEC-2022-43015"),
    ],
)
def test_a_pin_that_is_known_to_be_vulnerable_ends_the_audit_and_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], pin: str, id_: str
) -> None:
    """Against the records that are committed; renewing them keeps these, all of OSV."""
    (tmp_path / "lock.txt").write_text(f"# a comment\nsafe-package==1.0{HASH}\n{pin}{HASH}\n")
    assert audit.main(["--root", str(tmp_path), "lock.txt"]) == 1
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("VULNERABLE") and id_ in line]
    name, _, version = pin.partition("==")
    assert f"lock.txt: {name.lower()} {version}:" in line
    assert "fixed in:" in line


@pytest.mark.parametrize("pin", ["jinja2==2.11.3", "urllib3==1.26.18", "urllib3==2.0.7", "jinja2-time==0.1"])
def test_a_fixed_version_and_another_package_of_a_like_name_are_let_be(tmp_path: Path, pin: str) -> None:
    (tmp_path / "lock.txt").write_text(f"{pin}\n")
    known = tmp_path / "advisories.json"
    seed = [
        r
        for r in json.loads(audit.ADVISORIES.read_text())["advisories"]
        if r["id"] in ("PYSEC-2021-66", "PYSEC-2023-212")
    ]
    known.write_text(json.dumps({"made": "2026-01-01", "source": "s", "asked": [], "accepted": {}, "advisories": seed}))
    assert audit.main(["--root", str(tmp_path), "--advisories", str(known), "lock.txt"]) == 0


@pytest.mark.parametrize(
    ("record", "inside", "outside"),
    [
        (advisory({"introduced": "0"}), ("0.1", "1!9"), ()),
        (advisory({"introduced": "0"}, {"fixed": "1.2"}), ("0", "1.1", "1.2rc1"), ("1.2", "1.10")),
        (advisory({"introduced": "1.2"}, {"last_affected": "1.4"}), ("1.2", "1.4"), ("1.1", "1.4.1")),
        (advisory({"fixed": "2.3"}, {"introduced": "2.0"}, {"introduced": "1.0"}, {"fixed": "1.5"}),
         ("1.0", "1.4", "2.0", "2.2.9"), ("0.9", "1.5", "1.9", "2.3")),
        (advisory({"introduced": "9"}, versions=("1.0", "not a version!")), ("1.0.0", "9"), ("1.1",)),
        (advisory({"introduced": "0"}, withdrawn="2026-01-01T00:00:00Z"), (), ("1.0",)),
    ],
)  # fmt: skip
def test_versions_are_inside_as_osv_says(
    record: dict[str, Any], inside: tuple[str, ...], outside: tuple[str, ...]
) -> None:
    assert [v for v in inside if not audit.vulnerable(Version(v), record, "x")] == []
    assert [v for v in outside if audit.vulnerable(Version(v), record, "x")] == []


@pytest.mark.parametrize(
    ("text", "hashed", "problem"),
    [
        ("flask>=3", False, "in no exact version"),
        ("flask", False, "in no exact version"),
        ("flask==3.*", False, "in no exact version"),
        ("flask==3.1", True, "without a hash"),
        ("flask==3.1 --hash=md5:0", True, "without a hash"),
        ("git+https://example.com/flask.git", False, "not a pinned package"),
        ("--extra-index-url https://example.com", False, "not a pinned package"),
        ("-r other.txt", False, "not a pinned package"),
    ],
)
def test_what_is_not_exact_is_refused(text: str, hashed: bool, problem: str) -> None:
    with pytest.raises(audit.Unpinned, match=problem):
        audit.pins(f"ok==1{HASH}\n{text}\n", hashed=hashed)


def test_an_unpinned_file_ends_the_audit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "lock.txt").write_text("flask>=3\n")
    assert audit.main(["--root", str(tmp_path), "lock.txt"]) == 1
    assert "UNPINNED   flask>=3: in no exact version" in capsys.readouterr().err


def test_names_and_markers_are_read_as_pip_reads_them() -> None:
    pinned = audit.pins(f'Flask_Thing==1.9 ; python_version < "4"{HASH}  # why\n')
    assert pinned == {"flask-thing": Version("1.9")}
    assert [str(each) for each in audit.audit({"f": pinned}, [BELOW_2])] == [
        "f: flask-thing 1.9: PYSEC-1 CVE-1; fixed in: 2.0"
    ]


def test_what_is_accepted_is_told_with_its_reason_and_does_not_end_the_audit() -> None:
    known = {"made": "2026-11-01", "source": "s", "asked": ["flask-thing"], "advisories": [BELOW_2]}
    files = {"f": {"flask-thing": Version("1")}}
    status, lines = audit.report({**known, "accepted": {"PYSEC-1": "we never call it"}}, files, date(2026, 11, 2))
    assert (status, [line for line in lines if "we never call it" in line][:1]) == (0, lines[:1])
    assert audit.report({**known, "accepted": {}}, files, date(2026, 11, 2))[0] == 1


@pytest.mark.parametrize(("day", "asked", "told"), [
    (date(2026, 11, 2), ["flask-thing"], []),
    (date(2026, 11, 2), [], ["NOT ASKED"]),
    (date(2027, 1, 2), ["flask-thing"], ["OLD"]),
])  # fmt: skip
def test_what_the_audit_cannot_see_is_said(day: date, asked: list[str], told: list[str]) -> None:
    known = {"made": "2026-11-01", "source": "s", "asked": asked, "accepted": {}, "advisories": []}
    _, lines = audit.report(known, {"f": {"flask-thing": Version("1")}}, day)
    assert [word for word in ("NOT ASKED", "OLD") if any(line.startswith(word) for line in lines)] == told


# ---------------------------------------------------------------------------------------------------------- renewing


@contextmanager
def osv(answers: dict[str, list[dict[str, Any]]], status: int = 200) -> Iterator[str]:
    """OSV's `/v1/query` over HTTP: the pages of each package's answer."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # noqa: N802, RUF100 - the library's name
            question = json.loads(self.rfile.read(int(self.headers["content-length"])))
            assert self.path == "/v1/query"
            assert question["package"]["ecosystem"] == "PyPI"
            pages, page = answers.get(question["package"]["name"], [{}]), int(question.get("page_token", "0"))
            more = {"next_page_token": str(page + 1)} if page + 1 < len(pages) else {}
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps({**pages[page], **more}).encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def known(tmp_path: Path) -> Path:
    (tmp_path / "lock.txt").write_text("flask-thing==1.9\nother==1\n")
    path = tmp_path / "advisories.json"
    old = {"made": "2020-01-01", "source": "s", "asked": [], "accepted": {"X": "why"}, "advisories": []}
    path.write_text(json.dumps(old))
    return path


def run(known: Path, *arguments: str) -> int:
    return audit.main(["--root", str(known.parent), "--advisories", str(known), *arguments, "lock.txt"])


def test_renewing_asks_about_every_package_keeps_what_was_accepted_and_is_then_enough_without_a_network(
    known: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(known) == 0
    withdrawn = {**BELOW_2, "id": "PYSEC-2", "withdrawn": "2026-01-01T00:00:00Z"}
    with osv({"flask-thing": [{"vulns": [withdrawn]}, {"vulns": [{**BELOW_2, "details": "a long story"}]}]}) as service:
        assert run(known, "--renew", "--service", service) == 1
    kept = json.loads(known.read_text())
    assert kept["asked"] == ["flask-thing", "other"]
    assert kept["accepted"] == {"X": "why"}
    assert kept["made"] == datetime.now(UTC).date().isoformat()
    assert [record["id"] for record in kept["advisories"]] == ["PYSEC-1"]
    assert "long story" not in known.read_text()
    assert run(known) == 1
    assert "VULNERABLE lock.txt: flask-thing 1.9: PYSEC-1" in capsys.readouterr().out


@pytest.mark.parametrize("status", [500, 404])
def test_a_service_that_does_not_answer_renews_nothing_and_says_so(
    known: Path, capsys: pytest.CaptureFixture[str], status: int
) -> None:
    before = known.read_text()
    with osv({}, status) as service:
        assert run(known, "--renew", "--service", service) == 2
    assert run(known, "--renew", "--service", "http://127.0.0.1:9") == 2
    assert known.read_text() == before
    assert "nothing was renewed" in capsys.readouterr().err
