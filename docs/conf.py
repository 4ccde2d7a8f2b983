"""Sphinx: `make docs` builds docs/_build/html, and a warning is an error."""

from importlib.metadata import version as version_of

project = "Treadle"
author = "The Treadle authors"
copyright = "2026, the Treadle authors"
version = release = version_of("treadle")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinxcontrib.mermaid"]
exclude_patterns = ["_build"]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_fence_as_directive = ["mermaid"]
myst_heading_anchors = 3

# Docstrings are plain text in which `this` is code.
default_role = "code"
autodoc_member_order = "bysource"
python_use_unqualified_type_names = True
autodoc_default_options = {"members": True}

html_theme = "furo"
html_title = "Treadle"
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["treadle.css"]


def setup(app):
    """Sphinx calls it."""
    app.connect("autodoc-process-docstring", literal_blocks)


def literal_blocks(app, what, name, obj, options, lines):
    """In a docstring, what is indented after an empty line is code, or a drawing."""
    for index in range(len(lines) - 1, 0, -1):
        before = lines[index - 1]
        is_block = lines[index].startswith("    ") and not before.strip()
        if is_block and not any(line.startswith(("    ", "::")) for line in lines[max(0, index - 2) : index]):
            lines[index:index] = ["::", ""]
