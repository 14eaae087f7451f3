"""The demo end to end: real processes, a real kill, a real Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from examples.realms import demo
from examples.realms.analysis.study import study_folder
from examples.realms.pages import markdown
from intendant import Runtime

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with work for a second or two."""
    folder = tmp_path_factory.mktemp("busy")
    source = (ROOT / "examples" / "realms" / "analysis" / "tables.py").read_text("utf-8")
    for number in range(80):
        inside = folder / f"part{number % 8}"
        inside.mkdir(exist_ok=True)
        (inside / f"module{number}.py").write_text("\n\n".join([f'"""Module {number}."""', *[source] * 5]), "utf-8")
    return folder


def start(folder: Path, out: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "examples.realms.demo", str(folder), "--out", str(out), *options],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for_work(out: Path) -> None:
    """Until some step bodies have run."""
    deadline = time.monotonic() + 60
    while not any(path.stat().st_size > 2000 for path in out.glob("work/bodies-*")):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_run_comes_to_what_the_plain_functions_come_to(planted: Path, tmp_path: Path) -> None:
    assert demo.main(planted, crash=False, out=tmp_path / "out") == 0
    expected = study_folder("planted", str(planted))
    assert (tmp_path / "out" / "report.md").read_text("utf-8") == markdown.report([expected])
    assert (tmp_path / "out" / "roadmap.md").read_text("utf-8") == markdown.roadmap([expected])
    assert "The books are right" in (tmp_path / "out" / "report.html").read_text("utf-8")


def test_a_second_run_does_only_what_changed_and_says_so(
    planted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    demo.main(planted, crash=True, out=out)
    capsys.readouterr()
    before = (out / "report.md").read_bytes()
    assert demo.main(planted, crash=True, out=out) == 0
    said = capsys.readouterr().out
    assert "nothing changed" in said
    assert "SIGKILL" not in said
    assert (out / "report.md").read_bytes() == before
    (planted / "docs" / "plan.md").write_text("# Plan\n\nAnother one.\n", "utf-8")
    assert demo.main(planted, crash=True, out=out) == 0
    said = capsys.readouterr().out
    assert "new or changed: planted/docs/plan.md\n" in said
    assert (out / "report.md").read_text("utf-8") == markdown.report([study_folder("planted", str(planted))])


def test_killed_half_way_it_resumes_and_the_report_is_the_same(
    busy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert demo.main(busy, crash=True, out=tmp_path / "killed") == 0
    said = capsys.readouterr().out
    assert said.count("SIGKILL to the worker") == 1
    assert "the books are right" in said
    assert demo.main(busy, crash=False, out=tmp_path / "whole") == 0
    for name in ("report.md", "roadmap.md"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert "kill -9" in (tmp_path / "killed" / "report.html").read_text("utf-8")


def test_ctrl_c_ends_both_processes_and_the_same_command_goes_on(busy: Path, tmp_path: Path) -> None:
    with start(busy, tmp_path, "--no-crash") as first:
        wait_for_work(tmp_path)
        first.send_signal(signal.SIGINT)
        said, _ = first.communicate(timeout=30)
    assert first.returncode == 130
    assert "the same command again goes on" in said
    with start(busy, tmp_path, "--no-crash") as second:
        said, _ = second.communicate(timeout=60)
    assert second.returncode == 0, said
    assert "executions were found by the keys of earlier runs" in said
    assert "the books are right" in said


def test_while_another_process_holds_the_store_the_demo_says_who_in_one_line(planted: Path, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()

    def run_demo() -> tuple[int, str]:
        with start(planted, tmp_path) as demo:
            said, _ = demo.communicate(timeout=60)
        return demo.returncode, said

    async def hold_the_store() -> tuple[int, str]:
        async with Runtime(hot=f"sqlite:{tmp_path / 'work' / 'demo.db'}"):
            return await anyio.to_thread.run_sync(run_demo)

    code, said = anyio.run(hold_the_store)
    assert code == 1
    assert len(said.splitlines()) == 1
    assert "Another demo is at work" in said
    assert f"process {os.getpid()}" in said


def test_a_folder_that_is_none_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.main(tmp_path / "nowhere", crash=True, out=tmp_path / "out") == 2
    assert "is not a folder" in capsys.readouterr().out


def test_folders_with_odd_names_and_no_files_at_all_are_read(tmp_path: Path) -> None:
    odd = tmp_path / "an odd näme (1)"
    for name in ("__x__", "ü", "a b", ".hidden", "x" * 100):
        (odd / name).mkdir(parents=True)
        (odd / name / "a.md").write_text(f"# {name}", "utf-8")
    assert demo.main(odd, crash=False, out=tmp_path / "out") == 0
    assert "5 files" in (tmp_path / "out" / "report.md").read_text("utf-8")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert demo.main(empty, crash=True, out=tmp_path / "out-empty") == 0
