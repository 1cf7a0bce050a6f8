"""The page in a real browser: films in, answers beside them, keys, print; nobody else is asked."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from dicoms import cr, written
from PIL import Image

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
if CHROMIUM is None:
    pytest.skip("no Chromium is installed: the page was not looked at", allow_module_level=True)
playwright = pytest.importorskip("playwright.sync_api")

EXAMPLES = Path(__file__).parents[2] / "examples"


@dataclass
class Seen:
    """The page, and all that it asked and said."""

    page: playwright.Page
    address: str
    asked: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def drop(self, *films: Path) -> None:
        self.page.locator("#file").set_input_files([str(film) for film in films])

    def own_alone(self) -> None:
        """Ask for the two studies that were added alone: those with a date, a film, and the hostile report."""
        self.page.locator("#filters summary").click()
        self.page.locator("#filter-form [name=since]").fill("2020")
        self.page.locator("#filter-form button", has_text="Ask again").click()

    def hits(self) -> playwright.Locator:
        return self.page.locator("#answer .hits:not(.own) article.hit")

    def answered(self) -> None:
        self.hits().first.wait_for()
        playwright.expect(self.page.locator("#status")).to_contain_text("answered in")


@pytest.fixture(scope="module")
def address(served_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    marks = tmp_path_factory.mktemp("marks") / "marks.jsonl"
    words = ["view", "--bundle", str(served_bundle), "--no-open", "--marks", str(marks)]
    server = subprocess.Popen(
        [sys.executable, "-m", "mtclip_edge", *words], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout
        yield server.stdout.readline().strip()
    finally:
        server.terminate()
        server.communicate()


@pytest.fixture(scope="module")
def browser() -> Iterator[playwright.Browser]:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def seen(browser: playwright.Browser, address: str) -> Iterator[Seen]:
    page = browser.new_page(viewport={"width": 1280, "height": 860})
    page.set_default_timeout(30_000)
    one = Seen(page, address)
    page.on("request", lambda request: one.asked.append(request.url))
    page.on("console", lambda message: _heard(one, message.text))
    page.on("pageerror", lambda error: one.said.append(str(error)))
    page.goto(address)
    page.locator("html[data-ready=yes]").wait_for()
    yield one
    host = address.partition("#")[0]
    assert all(url.startswith((host, "blob:", "data:")) for url in one.asked), one.asked
    page.close()


def _heard(seen: Seen, words: str) -> None:
    if not words.startswith("Canvas2D:"):  # of this test's own reading of pixels
        seen.said.append(words)


def drawn(film: playwright.Locator) -> np.ndarray:
    """The greys of a canvas's middle row."""
    return np.array(
        film.evaluate(
            "c => { const d = c.getContext('2d').getImageData(0, c.height >> 1, c.width, 1).data; "
            "return [...d].filter((_, i) => i % 4 === 0); }"
        )
    )


def test_a_picture_is_dropped_windowed_and_compared(seen: Seen) -> None:
    page = seen.page
    assert "token" not in page.url  # gone from the address bar
    seen.drop(EXAMPLES / "effusion.png")
    seen.answered()
    playwright.expect(page.locator("#answer h2").first).to_contain_text("Called abnormal")
    canvas, pane = page.locator("#pane-film canvas").first, page.locator("#pane-film")
    with Image.open(EXAMPLES / "effusion.png") as picture:
        own = np.asarray(picture.convert("L"))
    np.testing.assert_array_equal(
        drawn(canvas), own[own.shape[0] // 2]
    )  # the film compared is the film shown
    box = pane.bounding_box()
    assert box
    page.mouse.move(box["x"] + 200, box["y"] + 200)
    page.mouse.down()
    page.mouse.move(box["x"] + 120, box["y"] + 230, steps=4)
    page.mouse.up()
    playwright.expect(pane).to_have_attribute("data-window", "70 245")  # 175 wide around 157.5
    page.keyboard.press("i")
    page.wait_for_timeout(100)
    expected = 255 - np.clip(255 * (own[own.shape[0] // 2].astype(float) - 70) / 175, 0, 255)
    assert np.abs(drawn(canvas) - expected).max() <= 1
    page.keyboard.press("r")
    playwright.expect(pane).to_have_attribute("data-window", "0 255")
    assert seen.said == []


def test_a_hit_stands_beside_the_film_and_moves_with_it(seen: Seen) -> None:
    page = seen.page
    seen.own_alone()
    seen.drop(EXAMPLES / "effusion.png")
    seen.answered()
    playwright.expect(
        page.locator("article.hit", has_text="own-effusion").locator("img.small")
    ).to_be_visible()
    rank = page.locator("article.hit", has_text="own-effusion").get_attribute("data-rank")
    page.keyboard.press(str(rank))
    prior = page.locator("#pane-prior.has")
    prior.wait_for()
    playwright.expect(prior.locator("figcaption")).to_contain_text("Another patient's: study own-effusion")
    page.locator("#in").click()
    moved = [
        page.locator(f"{pane} canvas").first.evaluate("c => c.style.transform")
        for pane in ("#pane-film", "#pane-prior")
    ]
    assert moved[0] == moved[1] and "scale(1.25)" in moved[0]
    page.keyboard.press("ArrowUp")
    page.keyboard.press("b")
    playwright.expect(page.locator("#pane-prior")).to_be_hidden()
    assert seen.said == []


def test_a_hostile_report_is_only_text(seen: Seen) -> None:
    seen.own_alone()
    seen.drop(EXAMPLES / "effusion.png")
    seen.answered()
    card = seen.page.locator("article.hit", has_text="own-effusion")
    playwright.expect(card).to_contain_text("<script>document.title='owned'</script>")
    assert seen.page.title() == "mtclip: similar prior reports"
    assert card.locator("script, img:not(.small)").count() == 0


def test_a_map_with_its_scale(seen: Seen) -> None:
    page = seen.page
    seen.drop(EXAMPLES / "effusion.png")
    seen.answered()
    page.keyboard.press("h")
    page.locator("#bar:not([hidden])").wait_for()
    playwright.expect(page.locator("#bar")).to_contain_text("of cosine")
    assert page.locator(".heat").evaluate("c => c.width") > 0
    page.keyboard.press("h")
    playwright.expect(page.locator("#bar")).to_be_hidden()
    assert seen.said == []


def test_filters_ask_again_without_an_upload(seen: Seen) -> None:
    page = seen.page
    seen.drop(EXAMPLES / "effusion.png")
    seen.answered()
    sent = sum("/api/query" in url for url in seen.asked)
    page.keyboard.press("f")
    page.locator("#filter-form [name=label]").select_option("normal")
    page.locator("#filter-form button", has_text="Ask again").click()
    playwright.expect(seen.hits().first.locator(".chip").first).to_have_text("normal")
    playwright.expect(page.locator("#active")).to_have_text(": 1 in force")
    assert sum("/api/query" in url for url in seen.asked) == sent
    page.locator("#filter-form [name=least]").fill("100")
    page.locator("#filter-form button", has_text="Ask again").click()
    # The bundle was changed and may tell no percentiles any more: then that is said.
    left = page.locator("#status", has_text="tells no percentiles").or_(
        page.locator("#status", has_text="5 found")
    )
    playwright.expect(left).to_be_visible()
    told = page.locator("#answer .told", has_text="more alike than").count()
    playwright.expect(seen.hits()).to_have_count(
        0 if told == 0 and page.locator("#status").text_content() == "5 found" else 5
    )
    page.locator("#filter-form button", has_text="None").click()
    playwright.expect(seen.hits()).to_have_count(5)
    assert seen.said == []


def test_words_alone_and_with_a_film(seen: Seen) -> None:
    page = seen.page
    page.keyboard.press("t")
    page.keyboard.type("pleural effusion")
    page.keyboard.press("Enter")
    seen.hits().first.wait_for()
    playwright.expect(seen.hits().first).to_contain_text("affirms")
    seen.drop(EXAMPLES / "normal.png")
    seen.answered()
    page.locator("#both").check()
    page.locator("#words button").click()
    playwright.expect(page.locator("#status")).to_have_text("5 found")
    playwright.expect(page.locator("#strip button")).to_have_count(2)
    assert seen.said == []


def test_a_dicom_film_has_its_true_window(seen: Seen, tmp_path: Path) -> None:
    with Image.open(EXAMPLES / "effusion.png") as picture:
        values = np.asarray(picture.convert("L")).astype(np.uint16) * 16
    film = tmp_path / "film.dcm"
    film.write_bytes(written(cr(values, bits=12, WindowCenter=2048, WindowWidth=4096)))
    seen.drop(film)
    seen.answered()
    canvas = seen.page.locator("#pane-film canvas").first
    seen.page.wait_for_timeout(500)
    middle = values[values.shape[0] // 2].astype(float)
    assert np.abs(drawn(canvas) - np.clip((middle - 2047.5) / 4095 + 0.5, 0, 1) * 255).max() <= 1
    seen.page.locator("#presets").select_option("lungs")
    seen.page.wait_for_timeout(200)
    low, high = np.percentile(values, [2, 60])
    expected = np.clip((middle - low) / (high - low), 0, 1) * 255
    assert np.abs(drawn(canvas) - expected).mean() < 4
    assert seen.said == []


def test_what_cannot_be_read_is_said_and_costs_nothing(seen: Seen, tmp_path: Path) -> None:
    page, broken, words = seen.page, tmp_path / "broken.png", tmp_path / "notes.txt"
    broken.write_bytes((EXAMPLES / "effusion.png").read_bytes()[:800])
    words.write_text("words")
    seen.drop(EXAMPLES / "normal.png")
    seen.answered()
    seen.drop(broken, words)
    playwright.expect(page.locator("#strip button")).to_have_count(3)
    page.locator("#strip button").nth(1).click()
    playwright.expect(page.get_by_role("alert")).to_contain_text("broken.png")
    page.locator("#strip button").nth(0).click()
    seen.hits().first.wait_for()
    assert all("422" in line or "415" in line for line in seen.said)  # the browser's own words on a status


def test_a_film_with_black_and_white_exchanged(seen: Seen, tmp_path: Path) -> None:
    with Image.open(EXAMPLES / "effusion.png") as picture:
        turned = 255 - np.asarray(picture.convert("L"))
    Image.fromarray(turned).save(tmp_path / "turned.png")
    seen.drop(tmp_path / "turned.png")
    playwright.expect(seen.page.locator("#answer h2").first).to_contain_text("rejected")
    seen.page.get_by_role("button", name="Exchange black and white").click()
    seen.hits().first.wait_for()
    seen.page.wait_for_timeout(300)
    np.testing.assert_array_equal(
        drawn(seen.page.locator("#pane-film canvas").first), 255 - turned[turned.shape[0] // 2]
    )


def test_a_mark_is_kept(seen: Seen) -> None:
    seen.drop(EXAMPLES / "effusion.png")
    seen.answered()
    first = seen.hits().first
    first.get_by_role("button", name="Useful: report 1", exact=True).click()
    playwright.expect(first.locator(".marked")).to_have_text("kept: useful")
    first.get_by_role("textbox").fill("helped")
    first.get_by_role("button", name="Keep the note on report 1").click()
    playwright.expect(first.locator(".marked")).to_have_text("kept: note")
    with seen.page.expect_download() as download:
        seen.page.get_by_role("button", name="Marks as CSV").click()
    assert ",useful," in download.value.path().read_text()


def test_it_prints_and_saves(seen: Seen) -> None:
    seen.drop(EXAMPLES / "effusion.png")
    seen.answered()
    pdf = seen.page.pdf()
    assert pdf.startswith(b"%PDF") and len(pdf) > 20_000
    with seen.page.expect_download() as download:
        seen.page.get_by_role("button", name="Save as a page").click()
    assert "not a diagnosis" in download.value.path().read_text()


@pytest.mark.parametrize("size", [(1280, 860), (1920, 1080), (820, 1180)])
@pytest.mark.parametrize("theme", ["dark", "light"])
def test_everybody_can_use_it(seen: Seen, size: tuple[int, int], theme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page = seen.page
    page.set_viewport_size({"width": size[0], "height": size[1]})
    if theme == "light":
        page.locator("#theme").click()
    _no_violations(axe, page)
    seen.drop(EXAMPLES / "effusion.png", EXAMPLES / "normal.png")
    playwright.expect(page.locator("#strip button")).to_have_count(2)
    seen.answered()
    page.locator("#filters summary").click()
    page.keyboard.press("2")
    _no_violations(axe, page)
    wide = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert wide[0] <= wide[1]  # nothing to the side
    page.keyboard.press("?")
    _no_violations(axe, page)


def _no_violations(axe: object, page: playwright.Page) -> None:
    found = axe.Axe().run(page)  # type: ignore[attr-defined]
    assert found.violations_count == 0, found.generate_report()


def test_without_the_token_the_page_says_what_to_do(browser: playwright.Browser, address: str) -> None:
    page = browser.new_page()
    page.goto(address.partition("#")[0])
    playwright.expect(page.get_by_role("alert")).to_contain_text("open the address that mtclip view printed")
    page.close()


def test_a_page_of_another_origin_cannot_ask(browser: playwright.Browser, address: str) -> None:
    host, _, token = address.partition("/#token=")
    page = browser.new_page()
    page.goto("data:text/html,<p>another page</p>")
    said = page.evaluate(
        "async ([url, token]) => { try { return (await fetch(url, {headers: {authorization: `Bearer ${token}`}})).status } "
        "catch (error) { return String(error) } }",
        [f"{host}/api/about", token],
    )
    assert "Failed to fetch" in str(said)
    page.close()
