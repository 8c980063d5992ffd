"""The pages as built: what `make docs` promises, and how they look in a browser, narrow and wide."""

import functools
import subprocess
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from site_modules import DOCS, check_site

from browser import Browser, find_browser

pytestmark = pytest.mark.slow
WIDTHS = (390, 1280)


@pytest.fixture(scope="module")
def site():
    """Built where `make docs` builds it, which is quick after it."""
    folder = DOCS / "_build" / "html"
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--quiet", "-b", "html", str(DOCS), str(folder)]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr[-3000:]
    return folder


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def address(site):
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    path = find_browser()
    if path is None:
        pytest.skip("no Chromium here; CHROMIUM names one")
    opened = Browser(path, tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


def test_no_link_is_broken(site):
    assert list(check_site.broken_links(site)) == []


def test_every_public_name_is_in_the_inventory(site):
    assert check_site.missing_names(site, DOCS / "api") == []


def test_the_inventory_test_can_fail(site, monkeypatch):
    monkeypatch.setattr(check_site, "NOT_SHOWN", {})
    assert "dalib.adaptation.losses.squared_distance" in check_site.missing_names(site, DOCS / "api")


def test_nothing_is_fetched_from_elsewhere(site):
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert 'src="http' not in text, page
        assert 'rel="stylesheet" type="text/css" href="http' not in text, page


@pytest.mark.parametrize("width", WIDTHS)
def test_no_page_is_wider_than_its_window(site, address, browser, width):
    wide = []
    for page in sorted(site.rglob("*.html")):
        name = page.relative_to(site).as_posix()
        browser.open(f"{address}/{name}", width)
        scrolled, seen = browser.evaluate(
            "[document.scrollingElement.scrollWidth, document.scrollingElement.clientWidth]"
        )
        if scrolled > seen:
            wide.append(f"{name}: {scrolled} of {seen} px")
    assert wide == []


@pytest.mark.parametrize("width", WIDTHS)
def test_images_are_loaded_and_within_the_page(address, browser, width):
    browser.open(f"{address}/how-it-works.html", width)
    images = browser.evaluate(
        "[...document.querySelectorAll('article img')].map(i => [i.naturalWidth, i.getBoundingClientRect().right])"
    )
    assert len(images) == 4
    for natural, right in images:
        assert natural > 0
        assert right <= width


def test_a_page_that_is_too_wide_would_be_seen(address, browser, tmp_path):
    page = tmp_path / "wide.html"
    page.write_text('<body><div style="width: 500px">x</div>')
    browser.open(page.as_uri(), 390)
    assert browser.evaluate("document.scrollingElement.scrollWidth") > 390


def test_equations_are_drawn_without_a_script(address, browser):
    browser.open(f"{address}/how-it-works.html", 1280)
    heights = browser.evaluate("[...document.querySelectorAll('math')].map(m => m.getBoundingClientRect().height)")
    assert len(heights) >= 8
    assert min(heights) > 5


@pytest.mark.parametrize("width", WIDTHS)
def test_code_wraps_instead_of_being_cut(site, address, browser, width):
    cut = []
    for page in sorted(site.rglob("*.html")):
        name = page.relative_to(site).as_posix()
        if name.startswith("_modules/"):
            continue
        browser.open(f"{address}/{name}", width)
        blocks = "[...document.querySelectorAll('article pre')].filter(p => p.scrollWidth > p.clientWidth + 1).length"
        if browser.evaluate(blocks):
            cut.append(name)
    assert cut == []


def test_a_wide_table_scrolls_in_its_frame(address, browser):
    browser.open(f"{address}/backbones.html", 390)
    wrapper = "document.querySelector('article .table-wrapper')"
    assert browser.evaluate(f"getComputedStyle({wrapper}).overflowX") == "auto"
    assert browser.evaluate(f"{wrapper}.scrollWidth > {wrapper}.clientWidth")


def test_the_first_page_shows_the_result_and_both_ways_to_it(address, browser):
    browser.open(f"{address}/index.html", 1280)
    assert browser.evaluate("document.querySelector('article img').naturalWidth") > 500
    tabs = "[...document.querySelectorAll('article .sd-tab-set > label')].map(label => label.textContent.trim())"
    assert browser.evaluate(tabs) == ["Commands", "Python"]
