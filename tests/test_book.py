"""The book and the decks, as a reader opens them: in a browser, from disk."""

import re
import shutil
from collections.abc import Iterator
from contextlib import nullcontext
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from playwright.sync_api import Browser, Page, sync_playwright
from workbook import book, catalogue, fixes, report
from workbook.book import glossary, links, pages

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PHONE, DESK = {"width": 400, "height": 800}, {"width": 1280, "height": 720}
IN_BROWSER = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")
LONGEST_DECK, SMALLEST_LETTERS_PX = 30, 16


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The book of the stored notebooks."""
    return book.build(report.stored(), tmp_path_factory.mktemp("book")).parent


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The decks of the stored notebooks."""
    return book.build_decks(report.stored(), tmp_path_factory.mktemp("slides")).parent


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def html_pages(folder: Path) -> list[Path]:
    """Return the pages that the book has for a reader."""
    return sorted(path for path in folder.rglob("*.html") if path.name != "search.html" and "_static" not in path.parts)


def opened(browser: Browser, **options: object) -> tuple[Page, list[str]]:
    """Return a page, and a list that fills with what it complains of and what it asks of a network."""
    page = browser.new_context(**options).new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: wrong.append(said.text) if said.type in ("error", "warning") else None)
    page.on("request", lambda asked: wrong.append(asked.url) if not asked.url.startswith(("file:", "data:", "blob:")) else None)
    return page, wrong


# --- Mentions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("as issue 35 says", [35]),
        ("fixes 5 and 7 have removed them", [5, 7]),
        ("issues 24 to 28", [24, 28]),
        ("Where 43 meets 22 and 46.", [43, 22, 46]),
        ("counts, since 42 the address", [42]),
        ("B2 and B7", [48, 53]),
        ("with 12 bytes", []),
        ("with 1,000 messages", []),
        ("issue 99", []),
        ("PostgreSQL 13 has it", []),
        ("a table of 50 MB", []),
    ],
)
def test_mentions_of_issues_are_found(text: str, numbers: list[int]) -> None:
    assert [number for *_, number in links.issue_numbers(text, links.MEETING)] == numbers


def test_glossary_has_the_terms_of_charts_and_policies() -> None:
    known = {name.casefold().strip("`") for names in glossary.entries() for name in names}
    wanted = {"arm", "limit", "heap-only", "keyset", "initplan", "search_path", "claims", "interleaved", "restated"}
    assert wanted <= known, wanted - known


# --- Pages --------------------------------------------------------------------------------------------------------


class _Links(HTMLParser):
    """Collects a page's links and anchors."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if name in ("href", "src") and value:
                self.links.append(value)
            if name == "id" and value:
                self.anchors.add(value)


@pytest.mark.slow
def test_each_link_and_anchor_leads_somewhere(folder: Path, slides: Path) -> None:
    parsed = {path: _Links(path.read_text()) for root in (folder, slides) for path in html_pages(root)}
    wrong = []
    for path, page in parsed.items():
        for link in page.links:
            target, _, anchor = unquote(link).partition("#")
            if target.startswith("data:"):
                continue
            if re.match(r"\w+:", target):
                wrong.append(f"{path.name}: {link} is outside")
                continue
            found = (path.parent / target.partition("?")[0]).resolve() if target else path
            if not found.exists():
                wrong.append(f"{path.name}: {link} is missing")
            elif anchor and found in parsed and anchor not in parsed[found].anchors:
                wrong.append(f"{path.name}: {link} has no anchor")
    assert wrong == []


@pytest.mark.slow
def test_each_issue_has_a_section_and_a_fix_page_from_the_first_page(folder: Path) -> None:
    index = _Links((folder / "index.html").read_text()).links
    for number in pages.issues():
        assert pages.section(number, "notebooks/") in index
        assert f"fixes/{fixes.find(number).name}.html" in index
    assert all((folder / "fixes" / f"{fix.name}.html").exists() for fix in fixes.all_fixes())


@pytest.mark.slow
def test_headline_is_fair(folder: Path) -> None:
    board = pages.board_of(report.stored())
    text = re.sub(r"<[^>]+>", "", (folder / "index.html").read_text())
    for kind, numbers in pages.kinds(board).items():
        assert f"{len(numbers)} {pages.MEANINGS[kind]}" in unescape(text).replace("’", "'")
    not_mentioned = pages.kinds(board)["not mentioned"]
    assert not_mentioned == [issue.number for issue in catalogue.beyond()]


@pytest.mark.slow
def test_terms_are_links_at_their_first_use(folder: Path) -> None:
    text = (folder / "notebooks" / "03_performance.html").read_text()
    for name in ("heap-only", "keyset", "InitPlan"):
        assert len(re.findall(rf'href="00_start_here.html#term-[\w-]+"[^>]*><span[^>]*>{name}', text, re.IGNORECASE)) == 1, name


@pytest.mark.slow
def test_plumbing_is_folded_and_sql_is_not(folder: Path) -> None:
    text = (folder / "notebooks" / "01_critical.html").read_text()
    folded = re.findall(r'<details class="admonition hide above-input">.*?</details>', text, re.DOTALL)
    assert any("import" in cell for cell in folded)
    assert not any(re.search(r"\b(insert|update) ", cell) for cell in folded if "compare" not in cell)


@pytest.mark.slow
@IN_BROWSER
def test_pages_are_quiet_fit_a_telephone_and_are_readable_in_the_dark_and_on_paper(folder: Path, browser: Browser) -> None:
    light, wrong = opened(browser, viewport=PHONE)
    dark, wrong_in_the_dark = opened(browser, viewport=DESK, color_scheme="dark")
    problems = []
    for path in html_pages(folder):
        light.goto(path.as_uri())
        dark.goto(path.as_uri())
        if (width := light.evaluate("document.documentElement.scrollWidth")) > PHONE["width"]:
            problems.append(f"{path.name} is {width} pixels wide")
        problems += [f"{path.name}, dark: {what}" for what in dark.evaluate(UNREADABLE)]
        light.emulate_media(media="print")
        problems += [f"{path.name}, printed: {what}" for what in light.evaluate(CUT_OFF)]
        light.emulate_media(media="screen")
    assert problems == []
    assert wrong + wrong_in_the_dark == []


# Text whose contrast to what lies behind it is less than 3, and what is nearly white.
UNREADABLE = """() => {
    const rgb = text => text.match(/[\\d.]+/g).map(Number);
    const channel = v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
    const behind = element => {
        for (; element; element = element.parentElement) {
            const color = rgb(getComputedStyle(element).backgroundColor);
            if (color[3] === undefined || color[3] > 0.5) return color;
        }
        return [0, 0, 0];
    };
    const found = new Set();
    for (const element of document.querySelectorAll(".bd-article *")) {
        if (!element.offsetParent && !element.closest("svg")) continue;
        const back = light(behind(element.closest("svg") ? element.closest("svg").parentElement : element));
        if (back > 0.5) found.add(`${element.tagName} stands on white`);
        const says = [...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
        if (!says || element.closest("svg") || element.closest("title, desc")) continue;
        const ink = light(rgb(getComputedStyle(element).color));
        const contrast = (Math.max(ink, back) + 0.05) / (Math.min(ink, back) + 0.05);
        if (contrast < 3) found.add(`${element.tagName} ${element.textContent.trim().slice(0, 30)}`);
    }
    return [...found];
}"""

# Code whose lines go on past the paper's edge.
CUT_OFF = """() => [...document.querySelectorAll(".bd-article pre")]
    .filter(block => block.offsetParent && block.scrollWidth > block.clientWidth + 1)
    .map(block => block.textContent.trim().slice(0, 40))"""


@pytest.mark.slow
@IN_BROWSER
def test_previous_and_next_walk_all_pages(folder: Path, browser: Browser) -> None:
    page, wrong = opened(browser)
    page.goto((folder / "index.html").as_uri())
    there = [page.url]
    while page.locator("a.right-next").count():
        with page.expect_navigation():
            page.locator("a.right-next").click()
        there.append(page.url.partition("#")[0])
    assert sorted(there) == sorted(path.as_uri() for path in html_pages(folder))
    back = [page.url]
    while page.locator("a.left-prev").count():
        with page.expect_navigation():
            page.locator("a.left-prev").click()
        back.append(page.url.partition("#")[0])
    assert back == there[::-1]
    assert wrong == []


@pytest.mark.slow
@IN_BROWSER
def test_search_finds_what_a_reader_looks_for(folder: Path, browser: Browser) -> None:
    page, wrong = opened(browser)
    page.goto(f"{(folder / 'search.html').as_uri()}?q=partition")
    page.wait_for_selector("ul.search li a")
    found = page.locator("ul.search li a").all_inner_texts()
    assert any("05" in text for text in found) and any("30_logs_partitions" in text for text in found), found
    assert wrong == []


@pytest.mark.slow
@IN_BROWSER
def test_scoreboard_sorts_by_severity(folder: Path, browser: Browser) -> None:
    page, wrong = opened(browser, viewport=DESK)
    page.goto((folder / "index.html").as_uri())
    page.get_by_role("button", name="severity").click()
    severities = page.locator("table.sortable tbody tr td:nth-child(3)").all_inner_texts()
    assert severities == sorted(severities, key=catalogue.SEVERITIES.index) and severities[0] == "high"
    page.get_by_role("button", name="severity").click()
    assert page.locator("table.sortable tbody tr td:nth-child(3)").first.inner_text() == "low"
    assert wrong == []


ANSWERS = {
    "Which are high?": r"high",
    "What do the fixes cost?": r"ACCESS EXCLUSIVE[\s\S]*MB",
    "What breaks in my app?": r"42703[\s\S]*Say started_at",
    "How long does it lock?": r"\d m?s\b[\s\S]*MB",
    "How do I roll back?": r"make rollout STEP=back",
    "What does v2 cost in writes?": r"messages/s|messages a second|of v1",
    "May I ship the review's SQL as it is?": r"refused: 42883[\s\S]*goes wrong",
    "In which order, and may I ship only some?": r"\d+ of \d+ stand alone",
    "How do I check my database?": r"make audit DATABASE_URL",
    "Who may do what?": r"authenticated[\s\S]*select",
}


@pytest.mark.slow
@IN_BROWSER
@pytest.mark.parametrize(("question", "answer"), ANSWERS.items())
def test_each_question_is_answered_by_one_click(folder: Path, browser: Browser, question: str, answer: str) -> None:
    page, wrong = opened(browser, viewport=DESK)
    page.goto((folder / "index.html").as_uri())
    items = {
        item.locator("strong").first.inner_text().replace("’", "'"): item for item in page.locator("#ten-questions li").all()
    }
    assert list(items) == list(ANSWERS)
    if (link := items[question].locator("a:not(.std-term a):not(:has(.std-term))").first).count():
        with page.expect_navigation() if "#" not in (link.get_attribute("href") or "")[:1] else nullcontext():
            link.click()
    assert re.search(answer, page.locator(".bd-article").inner_text())
    assert wrong == []


# --- Slides -------------------------------------------------------------------------------------------------------


SLIDE = """() => {
    const slide = Reveal.getCurrentSlide();
    return [slide.scrollHeight, slide.scrollWidth, parseFloat(getComputedStyle(slide).fontSize), slide.innerText];
}"""


@pytest.mark.slow
@IN_BROWSER
def test_arrow_walks_each_deck_to_its_end_and_no_slide_is_taller_than_the_screen(slides: Path, browser: Browser) -> None:
    page, wrong = opened(browser, viewport=DESK)
    decks = [path for path in html_pages(slides) if path.stem != "index"]
    assert len(decks) == 1 + len(report.chapters())
    for path in decks:
        page.goto(path.as_uri())
        page.wait_for_function("Reveal.isReady()")
        total = page.evaluate("Reveal.getTotalSlides()")
        assert total <= LONGEST_DECK, f"{path.stem} has {total} slides"
        for place in range(total):
            high, wide, letters, says = page.evaluate(SLIDE)
            at = f"{path.stem}, slide {place + 1}"
            assert high <= DESK["height"] and wide <= DESK["width"], f"{at} is {wide} × {high}"
            assert letters >= SMALLEST_LETTERS_PX, f"{at} has letters of {letters} pixels"
            assert says.strip() and "<chart>" not in says, at
            assert page.evaluate("Reveal.isLastSlide()") == (place == total - 1), at
            page.keyboard.press("ArrowRight")
    assert wrong == []
