"""Whatever lies in a folder, a study of it ends, and says what could not be used."""

import os
import socket
import time
import warnings
from pathlib import Path

import msgspec
import pytest

from examples.realms.analysis import listing, profiling
from examples.realms.analysis.model import Finding, Study
from examples.realms.analysis.reading import ChangedSinceListed, read
from examples.realms.analysis.study import study_folder
from examples.realms.pages import markdown, page


def study(folder: Path) -> Study:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # hostile Python may warn while it is parsed
        return study_folder("r", str(folder))


def only(folder: Path, kind: str) -> Finding:
    [finding] = [finding for finding in study(folder).findings if finding.kind == kind]
    return finding


@pytest.mark.parametrize(
    ("name", "content", "kind", "line"),
    [
        ("empty.md", b"", "empty", 1),
        ("blank.csv", b" \n\t\n", "empty", 1),
        ("image.md", b"\x89PNG\r\n\x1a\n" + bytes(64), "binary", 1),
        ("zeros.txt", b"abc\0\0\0", "binary", 1),
        ("latin.txt", "one\ntwo caf\xe9\n".encode("latin-1"), "encoding", 2),
        ("cookie.py", b"# -*- coding: klingon -*-\nx = 1\n", "encoding", 1),
        ("latin.py", b"x = 1\ny = '\xe9'\n", "encoding", 2),
        ("broken.py", b"def f(:\n    pass\n", "syntax-error", 1),
        ("tabs.py", b"if 1:\n\tx = 1\n        y = 2\n", "syntax-error", 3),
        ("ragged.csv", b"a,b\n1,2\n1,2,3\n", "malformed-row", 3),
        ("open-quote.csv", b'a,b\n1,"2\n' + b"3,4\n" * 60, "malformed-row", 2),
        ("wide.md", b"# x\n" + b"[" * 30_000, "long-line", 2),
    ],
)
def test_each_kind_of_bad_file_is_a_finding(tmp_path: Path, name: str, content: bytes, kind: str, line: int) -> None:
    (tmp_path / name).write_bytes(content)
    finding = only(tmp_path, kind)
    assert (finding.path, finding.line) == (f"r/{name}", line)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("quotes.md", b">" * 15_000 + b" deep"),
        ("lists.md", b"\n".join(b" " * (2 * depth) + b"- x" for depth in range(800))),
        ("brackets.md", b"[" * 10_000),
        ("emphasis.md", b"*a **b " * 2_000),
        ("pipes.md", b"|a|b|\n|-|-|\n" + b"|" * 10_000),
        ("links.md", b"[a](" * 4_000),
        ("nul.csv", b"a,b\n1,\0\n2,3\n"),
        ("field.csv", b"a,b\n1," + b"x" * 200_000 + b"\n"),
        ("parentheses.py", b"(" * 5_000),
        ("minus.py", b"x = " + b"-" * 50_000 + b"1"),
        ("nested.py", b"".join(b" " * depth + b"if 1:\n" for depth in range(150))),
        ("nul.py", b"x = 1\0\n"),
        ("bom.txt", b"\xff\xfea\x00"),
        ("half-bom.txt", b"\xff\xfea"),
        ("newlines.txt", b"\n" * 100_000 + b"x"),
        ("carriage.csv", b"a,b\r1,2\r3,4\r"),
    ],
)
def test_no_content_is_fatal_or_endless(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    started = time.process_time()
    assert study(tmp_path).totals.files == 1
    assert time.process_time() - started < 5


def test_what_cannot_be_read_is_a_finding(tmp_path: Path) -> None:
    (tmp_path / "gone.md").symlink_to(tmp_path / "nowhere.md")
    assert "a link that leads nowhere" in only(tmp_path, "unreadable").message


def test_a_link_to_itself_is_a_finding(tmp_path: Path) -> None:
    (tmp_path / "loop.md").symlink_to(tmp_path / "loop.md")
    assert only(tmp_path, "unreadable").path == "r/loop.md"


def test_pipes_and_sockets_are_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.md")
    assert "not a regular file" in only(tmp_path, "unreadable").message
    (tmp_path / "pipe.md").unlink()
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(os.path.relpath(tmp_path / "door.md"))
        assert "not a regular file" in only(tmp_path, "unreadable").message


def test_a_huge_file_is_told_and_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "BYTES_MAX", 1000)
    (tmp_path / "huge.csv").write_bytes(b"a,b\n" * 1000)
    assert only(tmp_path, "huge").message.startswith("0.0 MiB")


def test_a_folder_named_like_a_file_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "folder.md").mkdir()
    (tmp_path / "folder.md" / "inner.md").write_text("# Inner", "utf-8")
    assert study(tmp_path).totals.files == 1


def test_links_inside_the_root_are_not_read_twice_and_linked_folders_not_entered(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.md").write_text("# A\n" * 100, "utf-8")
    (tmp_path / "alias.md").symlink_to(tmp_path / "real" / "a.md")
    (tmp_path / "again").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "up").symlink_to(tmp_path)
    result = study(tmp_path)
    assert result.totals.kinds == {"alias": 1, "markdown": 1}
    assert not [finding for finding in result.findings if finding.kind == "duplicate"]


def test_a_name_that_is_no_text_is_a_finding(tmp_path: Path) -> None:
    with open(os.fsencode(tmp_path) + b"/caf\xe9.md", "wb") as file:  # noqa: PTH123  a Path has no bytes
        file.write(b"# x")
    finding = only(tmp_path, "unreadable")
    assert "not valid UTF-8" in finding.message
    finding.path.encode()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_a_finding(tmp_path: Path) -> None:
    (tmp_path / "secret.md").write_text("x", "utf-8")
    (tmp_path / "secret.md").chmod(0)
    (tmp_path / "closed").mkdir(mode=0)
    unreadable = [finding.path for finding in study(tmp_path).findings if finding.kind == "unreadable"]
    assert unreadable == ["r/closed", "r/secret.md"]


def test_a_file_that_changed_after_it_was_listed_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("one", "utf-8")
    [document] = listing.list_folder("r", str(tmp_path)).documents
    (tmp_path / "a.md").write_text("two", "utf-8")
    with pytest.raises(ChangedSinceListed, match=r"r/a\.md has changed"):
        read(document)


def test_names_and_contents_cannot_break_out_of_the_reports(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>|`x`_*.md".replace("/", "\u2215")
    (tmp_path / evil).write_text("# <script>alert(2)</script>\n\n[x](<no|such`file>.md)\n[y](nope.md)\n", "utf-8")
    (tmp_path / "two\nlines.md").write_text("[z](gone.md)", "utf-8")
    result = study(tmp_path)
    html = page.page([result], None)
    assert "<script>alert" not in html
    report = markdown.report([result])
    assert all("alert" not in line or line.startswith(("- `", "| `")) for line in report.splitlines())
    assert "two lines.md:1" in report


def test_an_empty_folder_has_an_empty_report(tmp_path: Path) -> None:
    result = study(tmp_path)
    assert markdown.roadmap([result]).endswith("Nothing to do.\n")
    assert "Nothing to do." in page.page([result], None)


def test_what_has_no_end_is_cut_to_what_a_step_may_return(tmp_path: Path) -> None:
    cells = "|".join(f"x{number}" for number in range(90))
    rows = "\n".join("|".join([f"{row}{'9' * 50}"] * 90) for row in range(12))
    table = f"|{cells}|\n|{'|'.join(['-'] * 90)}|\n{rows}\n"
    links = "\n".join(f"## heading {number} {'h' * 150}\n\n[a](b{number}{'l' * 250}.md)\n" for number in range(500))
    (tmp_path / "endless.md").write_text(links + "\n\n" + "\n\n".join([table] * 20), "utf-8")
    (tmp_path / "other.md").write_text("[last](endless.md#heading-499) [none](endless.md#nothing)", "utf-8")
    documents = listing.list_folder("r", str(tmp_path)).documents
    found = profiling.outline(documents[0])
    assert len(msgspec.msgpack.encode(found)) < 64 * 1024
    assert found.links
    assert not [
        finding
        for finding in study(tmp_path).findings
        if finding.path == "r/other.md" and finding.kind == "broken-link"
    ]


def test_of_a_very_long_text_the_beginning_is_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("examples.realms.analysis.markdown.PARSED_MAX", 1000)
    (tmp_path / "long.md").write_text("# A\n\n[x](y.md)\n\n" * 200, "utf-8")
    assert only(tmp_path, "huge").message == "Of 3,200 characters only the first 1,000 were looked at."
    assert study(tmp_path).totals.lines == 800
