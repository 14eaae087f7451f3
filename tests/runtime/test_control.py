"""The control socket: ours alone, gone afterwards, and no worse for whatever comes in."""

import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import msgspec
import pytest

from intendant import Runtime
from intendant.runtime import control
from intendant.runtime.config import resolve_control
from intendant.runtime.control import CONNECTIONS_MAX, REQUEST_BYTES_MAX, Answer

pytestmark = pytest.mark.anyio

TREE = b'{"ask": "tree"}\n'


@pytest.fixture
def place() -> Iterator[Path]:
    """Short enough for a socket's path, wherever tests are run."""
    with TemporaryDirectory(prefix="ctl", dir="/tmp") as made:
        yield Path(made) / "sockets"


def socket_of(runtime: Runtime) -> Path:
    assert runtime.control_socket is not None
    return runtime.control_socket


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def names(place: Path) -> set[str]:
    return {each.name for each in place.iterdir()}


def make(place: Path, mode: int) -> None:
    place.mkdir()
    place.chmod(mode)


def dead_process() -> int:
    with subprocess.Popen([sys.executable, "-S", "-c", ""]) as process:
        process.wait()
    return process.pid


async def say(path: Path, said: bytes, *, end: bool = False) -> Answer:
    async with await anyio.connect_unix(path) as stream:
        await stream.send(said)
        if end:
            await stream.send_eof()
        read = b""
        with anyio.fail_after(10):
            while not read.endswith(b"\n"):
                read += await stream.receive()
        return msgspec.json.decode(read, type=Answer)


async def test_it_is_ours_alone_and_gone_afterwards(place: Path) -> None:
    async with Runtime(hot="memory:", control=place) as first, Runtime(hot="memory:", control=place) as second:
        for runtime in (first, second):
            path = socket_of(runtime)
            assert mode(path) == 0o600
            assert (await say(path, TREE)).pid == os.getpid()
        assert mode(place) == 0o700
        assert len(names(place)) == 2
    assert names(place) == set()


async def test_it_answers_what_was_asked(place: Path) -> None:
    async with Runtime(hot="memory:", control=place, name="shop") as runtime:
        await runtime.open_session("acme", "desk-1")
        answer = await say(socket_of(runtime), b'{"ask": "tree", "depth": 0}\n')
        assert (answer.name, answer.error) == ("shop", "")
        assert answer.tree is not None
        assert answer.tree.children == ()
        assert answer.stats is not None
        assert answer.stats.sessions == 1


@pytest.mark.parametrize(
    "said",
    [
        b"{}\n", b'{"ask": "fire"}\n', b'{"ask": "tree", "dept": 1}\n', b'{"ask": "session", "tenant": "acme"}\n',
        b"\n", b"tree\n", b"\xff\xfe\n", b"[" * 4_000 + b"\n", b'{"a":' * 800 + b"\n",
        b'{"ask": "tree", "limit": 1e99}\n', b'{"ask": "tree", "limit": -1}\n',
        b'{"ask": "tree", "depth": 99999999999999999999}\n', b'{"ask": "tree", "tenant": "../x"}\n',
        b'{"ask": "tree", "fold": "x"}\n', b'{"ask": "session", "tenant": "acme", "session": "none"}\n',
        b'{"ask": "executions", "tenant": "acme", "limit": 501}\n',
        b"x" * (REQUEST_BYTES_MAX + 1),
    ],
    ids=lambda said: repr(said[:32]),
)  # fmt: skip
async def test_what_makes_no_sense_is_refused_and_hurts_nobody(place: Path, said: bytes) -> None:
    async with Runtime(hot="memory:", control=place) as runtime:
        answer = await say(socket_of(runtime), said)
        assert answer.error
        assert answer.tree is None
        assert not (await say(socket_of(runtime), TREE)).error
        assert runtime.stats().restarts == 0


async def test_who_says_nothing_or_leaves_hurts_nobody(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Runtime(hot="memory:", control=place) as runtime:
        path = socket_of(runtime)
        assert "line of JSON" in (await say(path, b'{"depth"', end=True)).error
        for _ in range(3):
            async with await anyio.connect_unix(path) as stream:
                await stream.send(TREE)  # and does not read
        monkeypatch.setattr(control, "SECONDS", 0.02)
        assert "no request came" in (await say(path, b"{")).error
        assert not (await say(path, TREE)).error
        assert runtime.stats().restarts == 0


async def test_no_more_are_served_at_a_time_than_it_says(place: Path) -> None:
    async with Runtime(hot="memory:", control=place) as runtime:
        path = socket_of(runtime)
        silent = [await anyio.connect_unix(path) for _ in range(CONNECTIONS_MAX)]
        assert "ask again" in (await say(path, TREE)).error
        for each in silent:
            await each.aclose()
        with anyio.fail_after(10):
            while (await say(path, TREE)).error:  # noqa: ASYNC110  nobody announces it
                await anyio.sleep(0.001)


async def test_what_a_killed_runtime_left_is_removed(place: Path) -> None:
    make(place, 0o700)
    left = {f"old-{dead_process()}.sock", f"old-{os.getpid()}.sock", "notes.sock"}
    for name in left:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(place / name))
    async with Runtime(hot="memory:", control=place) as runtime:
        stays = {f"old-{os.getpid()}.sock", "notes.sock"}  # a process that runs may be about to listen
        assert names(place) == {*stays, socket_of(runtime).name}


async def test_what_an_earlier_process_of_the_same_pid_left_stops_nobody(place: Path) -> None:
    make(place, 0o700)
    with socket.socket(socket.AF_UNIX) as bound:  # a container's process is number 1 in each of its lives
        bound.bind(str(place / f"default-{os.getpid()}.sock"))
    async with Runtime(hot="memory:", control=place) as runtime:
        assert names(place) == {socket_of(runtime).name} == {f"default-{os.getpid()}.sock"}
        assert (await say(socket_of(runtime), b'{"ask": "tree"}\n')).pid == os.getpid()
    assert names(place) == set()


async def test_a_directory_that_others_write_to_is_refused(place: Path) -> None:
    make(place, 0o777)
    with pytest.raises(PermissionError, match="others can't write to"):
        async with Runtime(hot="memory:", control=place):
            pass
    assert names(place) == set()


async def test_there_is_none_unless_asked_for() -> None:
    assert resolve_control("default", None, {}) is None
    assert resolve_control("default", False, {"INTENDANT_CONTROL": "1"}) is None
    assert resolve_control("default", None, {"INTENDANT_CONTROL": "1", "XDG_RUNTIME_DIR": "/run/me"}) == Path(
        "/run/me/intendant"
    )
    assert resolve_control("default", None, {"INTENDANT_CONTROL": "/srv/ctl"}) == Path("/srv/ctl")
    async with Runtime(hot="memory:") as runtime:
        assert runtime.control_socket is None
