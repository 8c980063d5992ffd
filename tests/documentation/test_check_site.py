"""The check of the built pages finds what is planted."""

import pytest
from site_modules import check_site

GOOD = {
    "index.html": '<h1 id="top">A</h1><a href="sub/page.html#here">x</a><a href="#top">y</a><img src="i.svg">'
    '<a href="https://example.org/none">elsewhere</a><link rel="stylesheet" href="s.css?v=1">',
    "sub/page.html": '<p id="here">B</p><a href="../index.html">x</a>',
    "i.svg": "",
    "s.css": "",
}


def site(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    return folder


def test_words_that_were_lost_are_named(tmp_path):
    page = "<p><strong>weight</strong> \u2013 <ol></ol></p><p><strong>num</strong> \u2013 C.</p>"
    page += (
        '<dt>Type<span class="colon">:</span></dt>\n<dd class="x"><p>What is else worth logging, without a gradient</p>'
    )
    (tmp_path / "api").mkdir()
    found = list(check_site.lost_words(site(tmp_path, {"api/page.html": page})))
    assert found == [
        "api/page.html: weight has no description",
        "api/page.html: What is else worth logging, without a gradient is no type",
    ]


def test_a_good_site_has_nothing_broken(tmp_path):
    assert list(check_site.broken_links(site(tmp_path, GOOD))) == []


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ('<a href="sub/none.html">x</a>', "index.html: sub/none.html: no such file"),
        ('<a href="sub/page.html#nowhere">x</a>', "index.html: sub/page.html#nowhere: no such anchor"),
        ('<a href="#nowhere">x</a>', "index.html: #nowhere: no such anchor"),
        ('<img src="none.png">', "index.html: none.png: no such file"),
        ('<script src="none.js"></script>', "index.html: none.js: no such file"),
        ('<a href="file:///etc">x</a>', "index.html: file:///etc: a link that is neither of the site nor of the web"),
    ],
)
def test_what_is_broken_is_named(tmp_path, broken, message):
    folder = site(tmp_path, GOOD | {"index.html": GOOD["index.html"] + broken})
    assert list(check_site.broken_links(folder)) == [message]


def test_public_names_are_those_of_all_or_those_defined():
    assert "dalib.adaptation.self_ensemble.ConsistencyLoss" in check_site.public_names("dalib.adaptation.self_ensemble")
    names = check_site.public_names("dalib.adaptation.fixmatch")
    assert names == ["dalib.adaptation.fixmatch.FixMatch"]
