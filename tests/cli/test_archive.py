"""`intendant archive verify`: what it refuses. What it finds is in tests/runtime/test_verification.py."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from intendant import Runtime
from intendant.cli import main


@pytest.mark.parametrize(
    ("hot", "cold", "code", "says"),
    [
        ("sqlite:{}/none.db", "memory:", 2, "--hot: there is no file"),
        ("memory:", "memory:", 2, "--hot: memory: holds nothing of another process"),
        ("sqlite:{}/work.db", "oops", 2, "--cold: 'oops' is not a store"),
        ("redis://localhost:1/0", "memory:", 1, "redis://localhost:1/0"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, hot: str, cold: str, code: int, says: str
) -> None:
    (tmp_path / "work.db").touch()
    with pytest.raises(SystemExit) as left:
        main(["archive", "verify", "--hot", hot.format(tmp_path), "--cold", cold])
    said = capsys.readouterr()
    assert (left.value.code, said.out) == (code, "")
    assert said.err.startswith(f"intendant: {says}")
    assert said.err.count("\n") == 1


def test_a_store_that_nothing_was_archived_of_is_only_behind(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    url = f"sqlite:{tmp_path / 'work.db'}"

    async def work() -> None:
        async with Runtime([], hot=url) as runtime:
            await runtime.open_session("acme", "s1")

    anyio.run(work)
    with pytest.raises(SystemExit) as left:
        main(["archive", "verify", "--hot", url, "--cold", "memory:"])
    assert left.value.code == 0
    assert "sound: 2 records, 0 chunks, 1 documents; cold state was 2 records behind" in capsys.readouterr().out
