from pathlib import Path

from examples.realms.analysis.model import Finding
from examples.realms.analysis.study import study_folder


def found(folder: Path, kind: str) -> list[Finding]:
    return [finding for finding in study_folder("r", str(folder)).findings if finding.kind == kind]


def places(findings: list[Finding]) -> list[tuple[str, int]]:
    return [(finding.path, finding.line) for finding in findings]


def test_broken_links_are_found_at_their_lines_and_good_ones_are_not(planted: Path) -> None:
    broken = [finding for finding in found(planted, "broken-link") if finding.path == "r/docs/guide.md"]
    assert [(finding.line, finding.message) for finding in broken] == [
        (3, "“missing.md”: there is no such file or folder."),
        (5, "“images/none.png”: there is no such file or folder."),
        (5, "“plan.md#third-part”: the file has no such heading."),
    ]


def test_a_link_to_something_skipped_is_not_called_broken(planted: Path) -> None:
    (planted / "docs" / "plan.md").write_text("[env](../.venv/bin/activate) [cache](../x_cache/y)", "utf-8")
    (planted / ".venv" / "bin").mkdir(parents=True)
    (planted / "x_cache").mkdir()
    assert not [finding for finding in found(planted, "broken-link") if finding.path == "r/docs/plan.md"]


def test_near_duplicates_are_found_and_say_how_alike_they_are(planted: Path) -> None:
    [near] = found(planted, "near-duplicate")
    assert (near.path, near.related) == ("r/docs/harbour.txt", ["r/notes/harbour-draft.txt"])
    texts = [(planted / name).read_text("utf-8").split() for name in ("docs/harbour.txt", "notes/harbour-draft.txt")]
    one, other = ({*zip(words, words[1:], words[2:], words[3:], strict=False)} for words in texts)
    assert f"about {len(one & other) * 100 / len(one | other):.0f} %" in near.message


def test_exact_duplicates_are_one_finding(planted: Path) -> None:
    [same] = found(planted, "duplicate")
    assert (same.path, same.related) == ("r/notes/copy-again.md", ["r/notes/copy.md"])


def test_bad_rows_and_values_of_a_csv_are_found_at_their_lines(planted: Path) -> None:
    [misfit] = found(planted, "misfit-value")
    assert (misfit.path, misfit.line) == ("r/data/readings.csv", 11)
    assert "“warm” in column “temperature”, whose other values are of type number" in misfit.message
    [outlier] = found(planted, "outlier")
    assert (outlier.line, "9000.0" in outlier.message) == (16, True)
    malformed = [finding for finding in found(planted, "malformed-row") if finding.path.endswith(".csv")]
    assert places(malformed) == [("r/data/readings.csv", 21)]


def test_rows_of_markdown_tables_are_counted_before_the_parser_mends_them(planted: Path) -> None:
    [malformed] = [finding for finding in found(planted, "malformed-row") if finding.path.endswith(".md")]
    assert (malformed.path, malformed.line) == ("r/docs/guide.md", 10)


def test_undocumented_public_code_is_found(planted: Path) -> None:
    [bare] = found(planted, "undocumented")
    assert (bare.path, bare.line, bare.count) == ("r/shop/till.py", 9, 2)
    assert "Till.open (9), close (13)" in bare.message


def test_a_circle_of_imports_is_found_at_the_import_and_a_deferred_one_is_not(planted: Path) -> None:
    [circle] = found(planted, "import-cycle")
    assert (circle.path, circle.line, circle.related) == ("r/shop/stock.py", 3, ["r/shop/till.py"])
    stock = planted / "shop" / "stock.py"
    lines = stock.read_text("utf-8").splitlines()
    lines.insert(7, "    " + lines.pop(2))
    deferred = "\n".join(lines)
    stock.write_text(deferred, "utf-8")
    assert not found(planted, "import-cycle")


def test_each_action_names_a_file_and_a_line_that_exist(planted: Path) -> None:
    study = study_folder("r", str(planted))
    assert study.actions
    for action in study.actions:
        lines = (planted / action.path.removeprefix("r/")).read_text("utf-8").splitlines()
        assert 1 <= action.line <= max(1, len(lines)), action


def test_what_is_central_and_what_is_orphaned(planted: Path) -> None:
    study = study_folder("r", str(planted))
    assert {standing.path for standing in study.structure.central} >= {"r/shop/stock.py", "r/docs/plan.md"}
    orphans = {finding.path for finding in study.findings if finding.kind == "orphan"}
    assert orphans == {"r/notes/copy.md", "r/notes/copy-again.md"}
