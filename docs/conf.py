"""The documentation as a site: `make docs` builds it offline into build/site."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from docs.generate.errors_page import write_reference  # noqa: E402 - found by the line above

REFERENCE = ROOT / "build" / "reference"
write_reference(REFERENCE)

project = "Unbroken"
html_title = "Unbroken"
extensions = ["myst_parser"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
exclude_patterns = ["snippets"]
html_theme = "furo"
html_extra_path = [str(REFERENCE), "openapi.json"]
html_show_sourcelink = False
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#4f46e5", "color-brand-content": "#4f46e5"},
    "dark_css_variables": {"color-brand-primary": "#a5a2ff", "color-brand-content": "#a5a2ff"},
}
