"""One HTML page that needs nothing but itself: style, script and drawings are inside."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from examples.realms.analysis.model import Finding, Severity, Study

from .markdown import HORIZONS, TITLES, hours, summary
from .run import Run
from .timeline import draw

ORDER: dict[Severity, int] = {"fix": 0, "improve": 1, "note": 2}

_environment = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.filters["hours"] = hours
_environment.filters["number"] = lambda value: f"{value:,}"


def page(studies: list[Study], run: Run | None) -> str:
    """The page. Without a run it depends on the studies alone and is the same for the same input."""
    findings = _by_weight(studies)
    return _environment.get_template("page.html.jinja").render(
        studies=studies,
        run=run,
        timeline=draw(run) if run else None,
        findings=findings,
        kinds=sorted(Counter(finding.kind for finding in findings).items()),
        severities=[(name, title, sum(each.severity == name for each in findings)) for name, title in TITLES.items()],
        horizons=HORIZONS,
        summary=summary,
    )


def _by_weight(studies: list[Study]) -> list[Finding]:
    """What has to be fixed first, and within it what most others rest on."""
    ranks = {path: rank for study in studies for path, rank in study.structure.ranks.items()}
    findings = [finding for study in studies for finding in study.findings]
    return sorted(
        findings, key=lambda each: (ORDER[each.severity], -ranks.get(each.path, 0.0), each.path, each.line, each.kind)
    )
