"""The driver: starts the worker, kills it half way, starts it again, and writes the page.

    python -m examples.realms.demo [FOLDER] [--no-crash] [--out DIR]

The kill is a real SIGKILL of a real process: nothing of it can be caught. The new worker opens the same store, goes
on with what was accepted, and what was recorded is not done again; the audit in the end counts whether that is so.
"""

from __future__ import annotations

import argparse
import os
import secrets
import subprocess
import sys
import time
from pathlib import Path

import msgspec
from rich.console import Console
from rich.markup import escape

from .analysis.model import Study
from .audit import now
from .messages import Assignment, Finished, Message, Opened, Progress, Refused, listen
from .pages.page import page
from .pages.run import Kill, Run
from .shelf import Shelf, write_whole
from .show import Show, summary
from .sources import sources_of

STOP_SECONDS = 20.0
INTERRUPTED = 130
LOG_LINES = 15


def main(folder: Path | None, *, crash: bool = True, out: Path = Path("demo-report"), work: Path | None = None) -> int:
    """Run the realms over `folder`, or over the project and Python; write the reports to `out`. Returns an exit code.

    The store lies in `work` (by default inside `out`): a second run finds there what the first one did.
    """
    console = Console()
    if folder is not None and not folder.is_dir():
        console.print(f"{escape(str(folder))} is not a folder.", highlight=False, soft_wrap=True)
        return 2
    work = (work or out / "work").absolute()
    work.mkdir(parents=True, exist_ok=True)
    run = secrets.token_hex(4)
    sources = sources_of(folder, run, work / "shelf", [out, work])
    drive = Drive(Assignment(run, now(), str(work), sources), Show(console), crash=crash)
    try:
        with drive.show:
            finished = drive.to_the_end()
    except KeyboardInterrupt:
        console.print(
            "Stopped. What was accepted is kept: the same command again goes on from here.",
            highlight=False,
            soft_wrap=True,
        )
        return INTERRUPTED
    if isinstance(finished, Refused):
        console.print(finished.message, highlight=False, markup=False, soft_wrap=True)
        return 1
    return _write(finished, drive.story(finished), Shelf(work / "shelf"), out, console)


class Drive:
    """One run: the worker's process, and what is seen of it from outside."""

    def __init__(self, assignment: Assignment, show: Show, *, crash: bool) -> None:
        self.assignment = assignment
        self.show = show
        self.kill: Kill | None = None
        self._crash = crash
        self._started = time.monotonic()
        self._log = Path(assignment.work) / "worker.log"

    @property
    def seconds(self) -> float:
        """Since the first worker was started."""
        return time.monotonic() - self._started

    def to_the_end(self) -> Finished | Refused:
        """Let workers work until one has finished. A KeyboardInterrupt stops the worker first."""
        while True:
            with self._start() as worker:
                try:
                    end = self._follow(worker)
                except BaseException:
                    _stop(worker)
                    raise
            if end is not None:
                return end

    def story(self, finished: Finished) -> Run:
        """The run as the page tells it."""
        return Run(self.seconds, self.kill, finished.figures)

    def _start(self) -> subprocess.Popen[bytes]:
        root = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        with self._log.open("ab") as log:
            worker = subprocess.Popen(
                [sys.executable, "-m", "examples.realms.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, "PYTHONPATH": path},
                start_new_session=True,  # Ctrl-C reaches only us, and we stop it in good order
            )
        assert worker.stdin is not None
        worker.stdin.write(msgspec.json.encode(self.assignment))
        worker.stdin.close()
        worker.stdin = None
        return worker

    def _follow(self, worker: subprocess.Popen[bytes]) -> Finished | Refused | None:
        """Hear a worker out; None when it was killed and another one has to go on."""
        assert worker.stdout is not None
        end: Finished | Refused | None = None
        for message in listen(worker.stdout):
            if isinstance(message, Finished | Refused):
                end = message
            elif self._due(message):
                worker.kill()
                worker.wait()  # reaped: from now on nobody can take it for alive
                return None
        if worker.wait() and end is None:
            lines = self._log.read_text("utf-8", "replace").splitlines()[-LOG_LINES:]
            return Refused("\n".join([f"The worker ended with code {worker.returncode}. Its last words:", *lines]))
        return end

    def _due(self, message: Message) -> bool:
        """Take note of a message; whether it is time for the kill."""
        if isinstance(message, Opened) and self.kill is not None:
            self.kill = msgspec.structs.replace(self.kill, resumed=self.seconds)
            self.show.say(f"A new worker has opened the store and goes on with {message.resumed:,} executions.")
        if not isinstance(message, Progress):
            return False
        self.show.move(message)
        # Half way, and only if there was work to do: a run that finds everything done has nothing to lose.
        half = message.expected // 2
        due = half > 0 and message.done >= half and message.written >= message.done
        if not due or not self._crash or self.kill is not None:
            return False
        self.kill = Kill(self.seconds, self.seconds, message.done, message.open)
        self.show.say(
            f"[bold red]SIGKILL[/] to the worker: {message.done:,} executions have ended, {message.open:,} are open."
        )
        return True


def _stop(worker: subprocess.Popen[bytes]) -> None:
    """Ask a worker to leave in good order; it suspends what runs. A second Ctrl-C does not wait for that."""
    if worker.poll() is not None:
        return
    worker.terminate()
    try:
        worker.communicate(timeout=STOP_SECONDS)  # and not wait: a full pipe would hold it up
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        worker.kill()
        worker.wait()


def _write(finished: Finished, run: Run, shelf: Shelf, out: Path, console: Console) -> int:
    studies = [shelf.get(name, Study) for name in finished.studies]
    write_whole(out / "report.md", shelf.get(finished.report, str).encode())
    write_whole(out / "roadmap.md", shelf.get(finished.roadmap, str).encode())
    write_whole(out / "report.html", page(studies, run).encode())
    findings = sum(len(study.findings) for study in studies)
    actions = sum(len(study.actions) for study in studies)
    console.print()
    for name, text in summary(run, findings, actions, out / "report.html"):
        console.print(f"[bold]{name:<12}[/]{text}", highlight=False, soft_wrap=True)
    return 1 if run.figures.flaws else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Run the realms example; kill it half way; see it finish.")
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--no-crash", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("demo-report"))
    given = parser.parse_args()
    sys.exit(main(given.folder, crash=not given.no_crash, out=given.out))
