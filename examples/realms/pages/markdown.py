"""The report and the roadmap as Markdown: the same bytes for the same input, so nothing here knows the time."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import groupby

from examples.realms.analysis.model import Action, Finding, Severity, Study

SHOWN_MAX = 25
LATER_MAX = 60
TITLES: dict[Severity, str] = {"fix": "To fix", "improve": "To improve", "note": "Worth knowing"}
HORIZONS = {
    "now": ("Now", "What fits into two hours, the best value for the effort first."),
    "next": ("Next", "What fits into the two days after."),
    "later": ("Later", "The rest, in the same order."),
}


def report(studies: Iterable[Study]) -> str:
    """What was found, root by root: what is wrong, what it speaks of, how it hangs together."""
    lines = ["# What was found", ""]
    for study in studies:
        lines += [f"## {escape(study.root)}", "", summary(study), ""]
        for severity, title in TITLES.items():
            lines += _findings(title, [finding for finding in study.findings if finding.severity == severity])
        lines += [*_meaning(study), *_structure(study)]
    return "\n".join(lines).rstrip() + "\n"


def roadmap(studies: Iterable[Study]) -> str:
    """What to do, in which order, with the place, the reason and the effort."""
    lines = ["# Roadmap", "", "Ordered by value against effort; files that many others use count for more.", ""]
    for study in studies:
        lines += [f"## {escape(study.root)}", ""]
        if not study.actions:
            lines += ["Nothing to do.", ""]
        number = 1
        for horizon, (title, explanation) in HORIZONS.items():
            actions = [action for action in study.actions if action.horizon == horizon]
            if actions:
                lines += [f"### {title}: {hours(sum(action.minutes for action in actions))}", "", explanation, ""]
                shown = actions if horizon != "later" else actions[:LATER_MAX]
                lines += [_action(number + offset, action) for offset, action in enumerate(shown)]
                lines += [*_more(len(actions) - len(shown), "report.html"), ""]
                number += len(actions)
    return "\n".join(lines).rstrip() + "\n"


def summary(study: Study) -> str:
    """One sentence on how much was read and what came of it."""
    totals = study.totals
    kinds = ", ".join(
        f"{count:,} {kind}" for kind, count in sorted(totals.kinds.items(), key=lambda item: (-item[1], item[0]))
    )
    return (
        f"{totals.files:,} files ({kinds}), {totals.lines:,} lines, {totals.words:,} words; "
        f"{_counted(len(study.findings), 'finding')}, {_counted(len(study.actions), 'action')}."
    )


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def hours(minutes: int) -> str:
    """`45 min`, `3 h`, `12 days of 8 h`: as exact as such an estimate can be."""
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes / 60:.0f} h" if minutes < 24 * 60 else f"{minutes / 480:.0f} days"


def escape(text: str) -> str:
    """`text` as plain words in Markdown: file names may hold anything."""
    text = re.sub(r"([\\`*\[\]<>|])", r"\\\1", " ".join(text.split()))
    return re.sub(r"(?<!\w)_|_(?!\w)", r"\\_", text)


def code(text: str) -> str:
    """`text` between backticks, more of them than it holds itself."""
    text = " ".join(text.split())
    fence = "`" * (max((len(run) for run in re.findall("`+", text)), default=0) + 1)
    return f"{fence} {text} {fence}" if "`" in text else f"`{text}`"


def _findings(title: str, findings: list[Finding]) -> Iterator[str]:
    if not findings:
        return
    yield from (f"### {title}", "")
    ordered = sorted(findings, key=lambda finding: finding.kind)
    for kind, group in groupby(ordered, key=lambda finding: finding.kind):
        same = list(group)
        yield from (f"**{kind}** ({len(same)})", "")
        for finding in same[:SHOWN_MAX]:
            yield f"- {code(f'{finding.path}:{finding.line}')} {escape(finding.message)}"
        yield from (*_more(len(same) - SHOWN_MAX, "report.html"), "")


def _more(count: int, where: str) -> Iterator[str]:
    if count > 0:
        yield from ("", f"… and {count} more in {where}.")


def _meaning(study: Study) -> Iterator[str]:
    meaning = study.meaning
    if meaning.folders:
        yield from ("### What it speaks of", "", "| folder | key terms |", "|---|---|")
        for folder, terms in meaning.folders.items():
            yield f"| {code(folder).replace('|', chr(92) + '|')} | {escape(', '.join(terms))} |"
        yield ""
    if meaning.groups:
        yield from ("### Groups of related documents", "")
        for group in meaning.groups[:SHOWN_MAX]:
            members = ", ".join(code(member) for member in group.members[:5])
            more = f" and {group.size - 5} more" if group.size > 5 else ""
            yield f"- **{escape(', '.join(group.terms[:4]))}** ({group.size}): {members}{more}"
        yield from (*_more(len(meaning.groups) - SHOWN_MAX, "report.html"), "")


def _structure(study: Study) -> Iterator[str]:
    structure = study.structure
    if structure.central:
        yield from ("### What is central", "", f"{structure.edges:,} links and imports between files.", "")
        for standing in structure.central[:10]:
            yield f"- {code(standing.path)}, used by {standing.used_by} and using {standing.uses}"
        yield ""
    if structure.largest:
        yield from ("### What is large", "")
        for measure in structure.largest:
            yield f"- {code(measure.path)}, {measure.lines:,} lines, {measure.bytes:,} bytes"
        yield ""


def _action(number: int, action: Action) -> str:
    place = code(f"{action.path}:{action.line}")
    return f"{number}. **{action.title}** in {place} ({hours(action.minutes)}). {escape(action.why)}"
