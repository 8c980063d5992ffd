"""What the pages do beside Sphinx: docstrings read as they are meant, equations, links to sources."""

import subprocess

import pytest
from docutils import nodes
from site_modules import load

docstrings, figures, mathml, source_links = map(load, ("docstrings", "figures", "mathml", "source_links"))


class Translator:
    def __init__(self):
        self.body = []


def test_a_sentence_that_begins_with_its_word_stands_alone():
    lines = ["Returns:", "    In [0, 1].", "Misleads: often.", "Source: ours.", "", "Raises:", "    ValueError: no."]
    wanted = [*lines[:2], "", lines[2], "", *lines[3:]]
    assert docstrings.parted(lines) == wanted
    assert docstrings.parted(wanted) == wanted


def test_a_letter_is_a_description():
    lines = ["Args:", "    weight: w.", "    call: (p) -> scalar.", "    shape: (C,) shares.", "    size: What it is."]
    assert docstrings.parted(lines)[1:] == ["    weight: \\w.", "    call: \\(p) -> scalar.", *lines[3:]]


@pytest.mark.parametrize("draw", [mathml._inline, mathml._block])
def test_an_equation_is_mathml_on_one_line(draw):
    translator = Translator()
    with pytest.raises(nodes.SkipNode):
        draw(translator, nodes.math("", r"\frac1N \sum_i" + "\n" + r"m_i"))
    (drawn,) = translator.body
    assert "<math" in drawn
    assert "<mfrac><mn>1</mn><mi>N</mi></mfrac>" in drawn
    assert "\n" not in drawn.strip()


def test_an_equation_that_cannot_be_drawn_is_an_error():
    with pytest.raises(Exception, match="nonsense"):
        mathml._inline(Translator(), nodes.math("", r"\nonsense"))


def test_links_from_sources_to_nowhere_go(tmp_path):
    modules = tmp_path / "_modules"
    modules.mkdir()
    (tmp_path / "api.html").write_text('<dt id="here">x</dt>')
    living, dead = (f'<a class="viewcode-back" href="../api.html#{name}">[docs]</a>' for name in ("here", "gone"))
    (modules / "m.html").write_text(f"{living}def x{dead}def y")
    (modules / "index.html").write_text('<li><a href="m.html">m</a></li><li><a href="builtins.html">builtins</a></li>')

    class App:
        class builder:  # noqa: N801
            format = "html"

        outdir = tmp_path

    source_links._without_dead_links(App, None)
    assert (modules / "m.html").read_text() == f"{living}def xdef y"
    assert (modules / "index.html").read_text() == '<li><a href="m.html">m</a></li>'


def test_hyphens_between_a_name_and_its_description_are_a_dash():
    document = nodes.document("", "")
    document += nodes.paragraph("", "", nodes.strong("", "a"), nodes.Text(" -- of --flag"))
    document += nodes.paragraph("", "", nodes.Text("plain -- stays"))
    docstrings._dashed(None, document)
    assert [each.astext() for each in document.children] == ["a \N{EN DASH} of --flag", "plain -- stays"]


def test_short_code_is_marked():
    paragraph = nodes.paragraph("", "", *(nodes.literal("", each) for each in ("--seed", "x" * 30, "x" * 31)))
    document = nodes.document("", "")
    document += paragraph
    docstrings._marked(None, document)
    assert [code["classes"] for code in paragraph.children] == [["short", "word"], ["short"], []]


@pytest.fixture
def docs(tmp_path):
    """A folder of pages with a program that draws a figure."""
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "_style.py").touch()
    (tmp_path / "figures" / "line.py").write_text("import sys; open(sys.argv[1] + '/line.svg', 'w').write('<svg/>')")
    return tmp_path


def test_a_figure_is_drawn_once_and_again_when_its_program_changes(docs):
    started = figures.start(docs)
    figures.finish(started)
    assert len(started) == 1
    assert (docs / "generated" / "figures" / "line.svg").read_text() == "<svg/>"
    assert figures.start(docs) == []
    (docs / "figures" / "line.py").write_text("import sys; open(sys.argv[1] + '/line.svg', 'w').write('<svg></svg>')")
    figures.finish(figures.start(docs))
    assert (docs / "generated" / "figures" / "line.svg").read_text() == "<svg></svg>"


def test_a_figure_that_cannot_be_drawn_stops_the_build(docs):
    (docs / "figures" / "line.py").write_text("raise SystemExit(3)")
    with pytest.raises(subprocess.CalledProcessError, match="3"):
        figures.finish(figures.start(docs))
    assert not (docs / "generated" / "figures" / "line.stamp").exists()
