"""The report in a real browser: what a parser cannot see. Needs Chromium (a Debian package; .ci/run installs it)."""

import csv
import io
import json
import os
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from gssl.report.figures import figures
from tests.report.documents import page, typed

CI = any(os.environ.get(name) for name in ("CI", "GSSL_CI"))


@pytest.fixture(scope="module")
def browser(
    chromium: ModuleType, full_report: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Any]:
    """One Chromium with the page open, for all tests here."""
    binary = chromium.find()
    if binary is None and CI:
        pytest.fail("no Chromium: the report's page cannot be opened; .ci/run installs it (apt-get install chromium)")
    if binary is None:
        pytest.skip("no Chromium on the PATH (apt-get install chromium): the page is not opened in a browser")
    home = tmp_path_factory.mktemp("chromium")
    path = home / "report.html"
    path.write_text(page.render(full_report), encoding="utf-8")
    found = chromium.Browser(binary, home / "profile")
    try:
        found.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(home / "downloads"))
        found.downloads = home / "downloads"
        found.look(1400)
        found.open(path)
        yield found
    finally:
        found.close()


def column(browser: Any, name: str, index: int) -> list[str]:
    """What sorting reads from a table's column, top to bottom; the table is named by its CSV."""
    code = (
        f"[...document.querySelector('.csv[data-name={name}]').parentElement.querySelector('tbody').rows]"
        f".map(row => textOf(row.cells[{index}]))"
    )
    return browser.run(code)


def click_head(browser: Any, name: str, index: int) -> str:
    """Click a column's head; returns what it says of its order."""
    table = f"document.querySelector('.csv[data-name={name}]').parentElement.querySelector('table')"
    head = f"{table}.tHead.rows[0].cells[{index}]"
    browser.run(f"{head}.querySelector('button').click()")
    return browser.run(f"{head}.getAttribute('aria-sort')")


def download(browser: Any, name: str) -> list[list[str]]:
    """Click a CSV button and read the file that it gives."""
    path = browser.downloads / f"gssl-{name}.csv"
    path.unlink(missing_ok=True)
    browser.run(f"document.querySelector('.csv[data-name={name}]').click()")
    browser.until(lambda: browser.run("1") and path.is_file() and path.read_text("utf-8").endswith("\n"))
    return list(csv.reader(io.StringIO(path.read_text("utf-8"), newline="")))


def test_pictures_are_decoded_and_figures_have_a_size(browser: Any, full_report: dict[str, Any]) -> None:
    images = browser.run("[...document.images].map(i => [i.complete, i.naturalWidth, i.alt])")
    assert len(images) >= 4
    assert all(done and width > 0 and alt for done, width, alt in images), images
    shapes = browser.run(
        "[...document.querySelectorAll('details')].forEach(d => d.open = true),"
        "[...document.querySelectorAll('.figure svg')].map(s => [s.getBoundingClientRect().width,"
        " s.getBoundingClientRect().height, s.querySelectorAll('path').length])"
    )
    assert len(shapes) == len(figures(typed(full_report))) >= 8
    assert all(width > 500 and height > 100 and paths > 3 for width, height, paths in shapes), shapes


@pytest.mark.parametrize(("name", "index"), [("scores", 2), ("every-score", 3), ("cost", 3), ("runs", 1)])
def test_a_click_on_a_head_sorts(browser: Any, name: str, index: int) -> None:
    before = column(browser, name, index)
    assert click_head(browser, name, index) == "descending"
    values = [float(v) for v in column(browser, name, index)]
    assert values == sorted(values, reverse=True)
    assert len(set(values)) > 1
    assert click_head(browser, name, index) == "ascending"
    assert column(browser, name, index) == sorted(before, key=float)


def test_what_is_missing_stays_below(browser: Any) -> None:
    for order in ("descending", "ascending"):
        assert click_head(browser, "trials", 4) == order
        found = column(browser, "trials", 4)
        assert found[0] not in ("", "–")
        assert set(found[1:]) <= {"", "–"}


def test_a_table_downloads_as_csv(browser: Any, full_report: dict[str, Any]) -> None:
    rows = download(browser, "every-score")
    head = rows[0]
    assert head[:4] == ["arm", "probe", "labels", "test accuracy (%)"]
    assert {len(row) for row in rows} == {len(head)}
    low, high = head.index("interval low"), head.index("interval high")
    titles = {a["name"]: a["title"] for a in full_report["arms"]}
    found = {(r[0], r[1], float(r[2])): (float(r[3]), float(r[low]), float(r[high])) for r in rows[1:]}
    assert len(found) == len(full_report["table"])
    for r in full_report["table"]:
        key = (titles[r["arm"]], r["probe"], r["n_train"])
        want = (r["mean"], r["interval"]["low"], r["interval"]["high"])
        assert found[key] == pytest.approx([100 * v for v in want], abs=1e-5)


def test_a_figure_downloads_its_numbers(browser: Any, full_report: dict[str, Any]) -> None:
    rows = download(browser, "figure-primary")
    want = {
        a["title"]: r["mean"]
        for a in full_report["arms"]
        for r in full_report["table"]
        if (r["arm"], r["label_budget"]) == (a["name"], "10") and r["probe"] in ("linear", "finetune")
    }
    assert rows[0][:4] == ["arm", "mean %", "low %", "high %"]
    assert {r[0]: float(r[1]) for r in rows[1:]} == pytest.approx({k: 100 * v for k, v in want.items()})


def test_every_csv_has_a_head_and_rows(browser: Any) -> None:
    found = browser.run(
        "(() => { const out = {}, real = save; save = (name, rows) => { out[name] = rows; };"
        " document.querySelectorAll('.csv').forEach(b => b.click()); save = real; return out; })()"
    )
    assert len(found) == browser.run("document.querySelectorAll('.csv').length") > 15
    for name, rows in found.items():
        assert len(rows) > 1, name
        assert len({len(row) for row in rows}) == 1, name
        assert all(rows[0]), (name, rows[0])


def test_figures_tell_their_values_by_pointer_and_by_keys(browser: Any, full_report: dict[str, Any]) -> None:
    mean = next(
        r for r in full_report["table"] if (r["arm"], r["probe"], r["label_budget"]) == ("simclr", "linear", "10")
    )
    place = "document.querySelector('#verdict .figure')"
    browser.run(f"{place}.scrollIntoView({{behavior: 'instant', block: 'center'}})")
    browser.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))")  # scrolled
    x, y = browser.run(
        f"(() => {{ const b = {place}.querySelector('.hit').getBoundingClientRect();"
        " return [b.x + b.width / 2, b.y + b.height / 2]; })()"
    )
    browser.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    told = browser.until(lambda: browser.run("tip.textContent"))
    assert told.startswith(f"SimCLR: mean {100 * mean['mean']:.1f}, 95% interval ")
    assert "3 seeds" in told
    box = browser.run("(() => { const b = tip.getBoundingClientRect(); return [b.left, b.right, innerWidth]; })()")
    assert 0 <= box[0] < box[1] <= box[2]
    browser.call("Input.dispatchMouseEvent", type="mouseMoved", x=1, y=1)
    browser.until(lambda: browser.run("tip.textContent") == "")
    browser.run(f"{place}.focus({{preventScroll: true}})")
    said = []
    for _ in range(2):
        browser.call("Input.dispatchKeyEvent", type="keyDown", key="ArrowRight")
        said.append(browser.run("tip.textContent"))
    assert all(said)
    assert said[0] != said[1]
    browser.call("Input.dispatchKeyEvent", type="keyDown", key="Escape")
    assert browser.run("tip.textContent") == ""


def test_a_word_is_explained_under_the_pointer_on_focus_and_by_a_finger(browser: Any) -> None:
    word = "document.querySelector('#verdict .confidence a.term')"
    entry = browser.run(f"document.getElementById({word}.hash.slice(1)).nextElementSibling.textContent")
    assert "random choices" in entry  # it is the seed
    browser.run("scrollTo(0, 0)")
    at = f"(() => {{ const b = {word}.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; }})()"
    x, y = browser.run(at)
    browser.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    assert browser.until(lambda: browser.run("tip.textContent")) == entry
    browser.call("Input.dispatchMouseEvent", type="mouseMoved", x=1, y=1)
    browser.until(lambda: browser.run("tip.textContent") == "")
    browser.run(f"{word}.focus({{preventScroll: true}})")
    assert browser.run("tip.textContent") == entry
    browser.call("Input.dispatchKeyEvent", type="keyDown", key="Escape")
    assert browser.run("tip.textContent") == ""
    browser.run(f"{word}.blur()")
    touch = [{"x": x, "y": y}]
    browser.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=touch)
    browser.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
    assert browser.until(lambda: browser.run("tip.textContent")) == entry
    assert browser.run("location.hash") == ""  # a finger reads and stays
    browser.run(f"{word}.blur(), hide()")


def test_a_head_explains_its_word_too(browser: Any) -> None:
    head = "document.querySelector('#generation th button:has(.term)')"
    browser.run(f"{head}.focus({{preventScroll: true}})")
    told = browser.run("tip.textContent")
    assert told and told == browser.run(f"{head}.getAttribute('aria-description')")
    browser.run(f"{head}.blur()")
    assert browser.run("tip.textContent") == ""


def test_the_first_screen_holds_answer_advice_and_facts(browser: Any) -> None:
    browser.look(1400, height=1000)
    browser.run("scrollTo(0, 0)")
    for what in (".answer", "#verdict h1", ".confidence", ".todo .first", ".facts"):
        bottom = browser.run(f"document.querySelector('{what}').getBoundingClientRect().bottom")
        assert 0 < bottom < 1000, what
    assert browser.run("document.querySelector('#verdict .figure').getBoundingClientRect().top") < 1000
    browser.look(1400)


def test_a_phone_never_scrolls_sideways(browser: Any) -> None:
    for width in (400, 1400):
        browser.look(width)
        wide = browser.run("document.documentElement.scrollWidth")
        shown = browser.run("innerWidth")
        assert (wide, shown) == (width, width)
    browser.look(400)  # one panel is whole, several keep letters that can be read and scroll inside their frame
    code = (
        "(() => {{ const s = document.querySelector('{} .figure svg');"
        " return [s.getBoundingClientRect().width, s.closest('.scroll').clientWidth]; }})()"
    )
    inner, outer = browser.run(code.format("#verdict"))
    assert inner <= outer < 400
    inner, outer = browser.run(code.format("#generation"))
    assert inner >= 560 > 400 > outer
    browser.look(1400)


def test_tables_fit_a_desktop_or_scroll_inside_a_frame_that_shows_it(browser: Any) -> None:
    """At 1,400 px only the table of all runs, with a path and hashes per row, may be wider than its frame."""
    code = (
        "[...document.querySelectorAll('.scroll:has(table)')].map(s => [s.getAttribute('aria-label'), s.scrollWidth,"
        " s.clientWidth, getComputedStyle(s).overflowX, getComputedStyle(s).backgroundAttachment])"
    )
    browser.run("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    for width, may_scroll in ((1400, {"All runs", "Every score"}), (400, None)):
        browser.look(width)
        found = browser.run(code)
        assert len(found) > 10
        for name, inner, outer, overflow, shadow in found:
            if inner > outer:
                assert may_scroll is None or name in may_scroll, (name, inner, outer)
            assert overflow == "auto" and "local" in shadow and outer <= width
        # no cell's text leaves its cell
        cut = "[...document.querySelectorAll('td,th')].filter(c => c.scrollWidth > c.clientWidth + 1).length"
        assert browser.run(cut) == 0
        assert browser.run("document.documentElement.scrollWidth") == width
    browser.run("document.querySelectorAll('details').forEach(d => { d.open = false; })")
    browser.look(1400)


def test_dark_mode_changes_page_and_figures(browser: Any) -> None:
    code = (
        "[getComputedStyle(document.body).backgroundColor,"
        " getComputedStyle(document.querySelector('.figure svg')).color,"
        " getComputedStyle(document.querySelector('.tip')).backgroundColor]"
    )
    browser.look(1400, dark=False)
    light = browser.run(code)
    browser.look(1400, dark=True)
    dark = browser.run(code)
    browser.look(1400, dark=False)
    assert all(a != b for a, b in zip(light, dark, strict=True)), (light, dark)
    assert brightness(light[0]) > 200 > 60 > brightness(dark[0])
    assert brightness(light[1]) < 60 < 200 < brightness(dark[1])


def brightness(colour: str) -> float:
    """ "rgb(20, 22, 25)" → their mean."""
    parts = [float(v) for v in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    return sum(parts) / 3


def test_print_opens_what_is_folded_and_shows_no_buttons(browser: Any) -> None:
    browser.run("document.querySelectorAll('details').forEach(d => d.open = false)")
    browser.run("dispatchEvent(new Event('beforeprint'))")
    assert browser.run("document.querySelectorAll('details:not([open])').length") == 0
    browser.call("Emulation.setEmulatedMedia", media="print")
    shown = browser.run("[...document.querySelectorAll('.csv, .copy')].filter(b => b.offsetParent !== null).length")
    browser.call("Emulation.setEmulatedMedia", media="")
    browser.run("dispatchEvent(new Event('afterprint'))")
    assert shown == 0
    assert browser.run("document.querySelectorAll('details[open]').length") == 0


def test_nothing_was_asked_of_a_network_and_nothing_was_complained_of(browser: Any) -> None:
    """Last in the file: over everything that the tests above did."""
    browser.run("1")
    events = browser.events
    asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    assert any(url.startswith("file:") for url in asked)  # the page itself: the events do arrive
    assert {url.split(":", 1)[0] for url in asked} <= {"file", "data", "blob"}, asked
    said = [
        e for e in events if e["method"] in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
    ]
    assert said == [], json.dumps(said)[:500]
