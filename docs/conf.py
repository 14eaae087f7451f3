"""How `make docs` builds the site: the Markdown pages as they are, and the reference from the docstrings.

The repository is the source directory, so that links between pages, to the README and back are the same on the site
and in a checkout. What an index page lists is the navigation: see `_toctrees`.
"""

from __future__ import annotations

import os
import re
import sys
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "docs" / "_sphinx"))

project = "Intendant"
copyright = "the Intendant authors"
version = release = version_of("intendant")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode", "docstrings"]
root_doc = "docs/index"
include_patterns = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/**", "examples/*/README.md"]
exclude_patterns = [each.name for each in ROOT.iterdir() if each.is_dir() and each.name not in ("docs", "examples")]
source_suffix = {".md": "markdown"}

myst_heading_anchors = 4

default_role = "py:obj"  # docstrings say `name`: a link if it is one of ours, else code
add_module_names = False
python_use_unqualified_type_names = True
maximum_signature_line_length = 80
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_default_options = {"members": True}
nitpicky = True
nitpick_ignore_regex = [
    ("py:obj", ".*"),  # the default role
    ("py:.*", r"(?!intendant\b).*"),  # names of others: their documentation would have to be fetched
    ("py:.*", r".*\.(F|I|M|P|R|R_co|T|Target)"),  # type variables
    ("py:.*", r"intendant\.(realm\.(Handler|Repertoire)|steps\.function\.StepFunction|parking\.Seam)"),
    ("py:.*", r"intendant\.(domain\.(commit|state|retry|telemetry)|http|supervisor\.(node|child))\..*"),  # seldom met
]

html_theme = "furo"
html_title = "Intendant"
html_static_path = ["_static"]
html_extra_path = ["_root"]  # the way from / to docs/index.html
html_css_files = ["site.css"]
html_logo = html_favicon = "_static/logo.svg"
html_copy_source = html_show_sphinx = False
html_theme_options: dict[str, Any] = {
    "light_css_variables": {
        "color-brand-primary": "#6f42c1",
        "color-brand-content": "#6f42c1",
        "color-api-name": "#1f2328",
        "color-api-pre-name": "#1f2328",
    },
    "dark_css_variables": {
        "color-brand-primary": "#bc8cff",
        "color-brand-content": "#bc8cff",
        "color-api-name": "#e6edf3",
        "color-api-pre-name": "#e6edf3",
    },
}
pygments_style = "friendly"
pygments_dark_style = "github-dark"

_LINK = re.compile(r"(?<!!)\[(?P<text>[^\]]*)\]\((?P<target>[^)#:]+)\)")


def _toctrees(_app: Sphinx, docname: str, source: list[str]) -> None:
    """Make each section of an index page, a list of links, a part of the navigation."""
    if not docname.endswith("/index"):
        return
    for section in re.split(r"^## ", source[0], flags=re.MULTILINE)[1:]:
        title = section.partition("\n")[0]
        entries = re.findall(r"^- \[(.+?)\]\((\S+?)\.md\)", section, re.MULTILINE)
        lines = "\n".join(f"{text.replace('`', '')} <{page}>" for text, page in entries)
        source[0] += f"\n```{{toctree}}\n:hidden:\n:caption: {title}\n\n{lines}\n```\n"


def _links_to_source(app: Sphinx, docname: str, source: list[str]) -> None:
    """Show a link to what lies in the repository, and is no page of the site, as its text."""
    folder = (ROOT / docname).parent

    def shown(link: re.Match[str]) -> str:
        target = Path(os.path.normpath(folder / link["target"]))
        is_page = target.is_relative_to(ROOT) and str(target.relative_to(ROOT).with_suffix("")) in app.env.found_docs
        return link["text"] if target.exists() and not is_page else link[0]

    source[0] = _LINK.sub(shown, source[0])


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", _toctrees)
    app.connect("source-read", _links_to_source)
