"""`intendant tokens`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from intendant.cli import main


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as left:
        main(["tokens", *arguments])
    code = left.value.code
    assert isinstance(code, int)
    return code, capsys.readouterr().out


def test_create_list_and_revoke(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(tmp_path / "tokens.json")
    code, text = run(capsys, "create", "acme", "--scope", "read", "--label", "web", "--file", file, "--json")
    made = json.loads(text)
    assert code == 0
    code, text = run(capsys, "list", "--file", file, "--json")
    assert json.loads(text) == [{"id": made["id"], "tenant": "acme", "scopes": ["read"], "label": "web"}]
    assert run(capsys, "revoke", made["id"], "--file", file)[0] == 0
    assert run(capsys, "revoke", made["id"], "--file", file)[0] == 1
    assert run(capsys, "create", "acme", "--scope", "all", "--file", file)[0] == 2
    assert run(capsys, "create", "no spaces", "--file", file)[0] == 1
    assert run(capsys, "create", "acme", "--file", file)[1].startswith("intendant_")
    assert json.loads(run(capsys, "list", "--file", file, "--json")[1])[0]["scopes"] == ["submit", "read", "operate"]
