"""What the realms hand to each other: small structs that msgspec encodes.

A step's result may be 64 KiB at most, so every list here has a limit, named where it is cut.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Kind = Literal["markdown", "table", "python", "text", "binary", "empty", "huge", "unreadable", "alias"]
ColumnType = Literal["integer", "number", "date", "boolean", "text", "empty"]
Severity = Literal["fix", "improve", "note"]


class Document(Struct, frozen=True):
    """One file as it was when its folder was listed: `digest` names its content, `problem` says why it has none."""

    root: str
    folder: str
    name: str
    size: int
    digest: str = ""
    problem: str = ""

    @property
    def path(self) -> str:
        """The name used in every report: relative to the scanned root, never absolute."""
        return f"{self.root}/{self.name}"

    @property
    def top(self) -> str:
        """The top-level folder, which has a session of its own."""
        head, slash, _ = self.name.partition("/")
        return head if slash else "."

    @property
    def parent(self) -> str:
        """The folder it lies in, named like `path`."""
        return self.path.rpartition("/")[0]


class Listing(Struct, frozen=True):
    """What a folder holds; `skipped` names what was left out on purpose, `unreadable` the folders that refused."""

    root: str
    documents: list[Document]
    skipped: list[str] = []
    unreadable: list[str] = []


class Heading(Struct, frozen=True, array_like=True):
    """A Markdown heading."""

    line: int
    level: int
    text: str


class Link(Struct, frozen=True, array_like=True):
    """A link or image in Markdown, as written."""

    line: int
    target: str


class Cell(Struct, frozen=True, array_like=True):
    """A value in a table and where it stands."""

    line: int
    value: str


class Column(Struct, frozen=True):
    """A column: what most of its values are, from where to where, and which ones are not like that."""

    name: str
    type: ColumnType
    low: str = ""
    high: str = ""
    values: int = 0
    gaps: int = 0
    gap_lines: list[int] = []
    odd: list[Cell] = []
    outliers: list[Cell] = []


class Table(Struct, frozen=True):
    """A table of a CSV file or inside Markdown; `malformed` are rows with another number of cells."""

    line: int
    rows: int
    columns: list[Column]
    malformed: list[Cell] = []


class Definition(Struct, frozen=True, array_like=True):
    """A function or class: its line, its dotted name inside the file, how long it is and how often it branches."""

    line: int
    name: str
    lines: int
    branches: int = 0


class Import(Struct, frozen=True, array_like=True):
    """An import; `module` is empty for `from . import name`, `level` counts the dots.

    `deferred` ones stand in a function or under a condition and are not run when the file is loaded.
    """

    line: int
    module: str
    name: str
    level: int
    deferred: bool = False


class Code(Struct, frozen=True):
    """What a Python file defines and imports."""

    functions: int
    classes: int
    public: int
    documented: int
    undocumented: list[Definition] = []
    heavy: list[Definition] = []
    imports: list[Import] = []
    script: bool = False


class Problem(Struct, frozen=True):
    """Something wrong with the file itself: it cannot be read, decoded or parsed."""

    line: int
    kind: str
    message: str


class Outline(Struct, frozen=True):
    """What a file is made of."""

    kind: Kind
    lines: int = 0
    title: str = ""
    headings: list[Heading] = []
    anchors: list[str] = []
    links: list[Link] = []
    tables: list[Table] = []
    code: Code | None = None
    problems: list[Problem] = []


class Vocabulary(Struct, frozen=True):
    """The words of a file: how many, the most frequent ones, and a sketch by which likeness is estimated."""

    words: int = 0
    terms: dict[str, int] = {}
    sketch: list[int] = []


class Profile(Struct, frozen=True):
    """All that later phases know of a file."""

    document: Document
    outline: Outline
    vocabulary: Vocabulary

    @property
    def path(self) -> str:
        """The document's path."""
        return self.document.path


class Finding(Struct, frozen=True):
    """One thing found, at a file and a line; `related` names the other files it is about."""

    path: str
    line: int
    kind: str
    severity: Severity
    message: str
    count: int = 1
    related: list[str] = []


class Group(Struct, frozen=True):
    """Documents that speak of the same things, and the words they share."""

    terms: list[str]
    members: list[str]
    size: int


class Meaning(Struct, frozen=True):
    """What the documents speak of: key terms by folder and the groups of related documents."""

    folders: dict[str, list[str]]
    groups: list[Group]


class Standing(Struct, frozen=True):
    """A file's place in the graph of links and imports."""

    path: str
    rank: float
    used_by: int
    uses: int


class Measure(Struct, frozen=True):
    """A large file."""

    path: str
    lines: int
    bytes: int


class Structure(Struct, frozen=True):
    """What is central, large and orphaned."""

    central: list[Standing]
    largest: list[Measure]
    ranks: dict[str, float]
    findings: list[Finding]
    edges: int


class Action(Struct, frozen=True):
    """Something to do: where, why, what it brings and what it costs."""

    path: str
    line: int
    kind: str
    title: str
    why: str
    value: float
    minutes: int
    findings: int
    horizon: Literal["now", "next", "later"] = "later"


class Totals(Struct, frozen=True):
    """How much was read."""

    files: int
    bytes: int
    lines: int
    words: int
    kinds: dict[str, int]


class Study(Struct, frozen=True):
    """All that is known of one root: what the report is written from."""

    root: str
    totals: Totals
    findings: list[Finding]
    meaning: Meaning
    structure: Structure
    actions: list[Action]
