"""Configuration of the documentation; `make docs` builds it."""

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "extensions"))

from dalib import __version__  # noqa: E402

project = "dalib"
author = "the dalib authors"
copyright = "the dalib authors, MIT licence"
version = release = __version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "myst_parser",
    "sphinx_copybutton",
    "sphinx_design",
    "mathml",
    "reference",
    "figures",
    "short_names",
    "source_links",
    "docstrings",
]
exclude_patterns = ["_build", "tutorials", "cases", "figures", "extensions", "**/README.md", "Thumbs.db", ".DS_Store"]
smartquotes = False  # two hyphens are a flag here
html_math_renderer = "mathml"

myst_enable_extensions = ["colon_fence", "deflist", "attrs_inline"]
myst_heading_anchors = 3

autodoc_default_options = {"members": True, "member-order": "bysource"}
add_module_names = False
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_inherit_docstrings = False  # torch's words on forward say nothing of ours
napoleon_numpy_docstring = False
# prose: napoleon would take what stands before a colon of Returns for a type, and two names of Attributes for one
napoleon_custom_sections = ["Returns", ("Attributes", "params_style")]
python_maximum_signature_line_length = 88
# annotations name the types of other libraries, which are not linked: the pages are built without network
nitpicky = True
nitpick_ignore = [
    ("py:class", "dalib.adaptation.settings.Made"),
    ("py:class", "dalib.core.checked_settings.Settings"),
    ("py:class", "dalib.data.prefetch.Made"),
    ("py:class", "dalib.engine.distributed.Result"),
    ("py:class", "dalib.models.compiled.Forward"),
]
nitpick_ignore_regex = [(r"py:(class|obj|data|exc)", r"(?!dalib\.).*")]

html_theme = "furo"
html_title = f"dalib {version}"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_copy_source = False
html_show_sphinx = False
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
copybutton_exclude = ".linenos, .gp, .go"

# tutorials and cases are run by the build, each again when it changes; `sphinx -t quick` leaves them out
PROGRAMS = {"tutorials": "gallery", "cases": "generated/cases"}
if any((HERE / "tutorials").glob("plot_*.py")) and not tags.has("quick"):  # noqa: F821 - Sphinx puts it here
    os.environ["TERM"] = "dumb"  # progress of the tutorials' runs as plain lines, where a terminal builds too
    extensions.append("sphinx_gallery.gen_gallery")
    os.environ["TMPDIR"] = tempfile.mkdtemp(prefix="docs-")  # the programs' processes put their runs there
    atexit.register(shutil.rmtree, os.environ["TMPDIR"], ignore_errors=True)
    sphinx_gallery_conf = {
        "examples_dirs": list(PROGRAMS),
        "gallery_dirs": list(PROGRAMS.values()),
        "filename_pattern": r"/plot_",
        "ignore_pattern": r"/_",
        "within_subsection_order": "FileNameSortKey",
        "image_scrapers": ("matplotlib",),
        "reset_modules": ("matplotlib", "small_maps.draw_small_maps"),
        "abort_on_example_error": True,
        "parallel": min(os.cpu_count() or 1, 4),  # of one thread each where there are two cores
        "remove_config_comments": True,
        "download_all_examples": False,
        "show_memory": False,
        "write_computation_times": False,
        "copyfile_regex": r".*\.(csv|png)$",
    }
else:
    suppress_warnings = ["myst.xref_missing", "toc.empty_glob"]  # of the pages that are left out
