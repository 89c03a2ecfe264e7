"""The page for people, in a real browser: it shows the contracts, calls methods, and is usable by everybody."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from headgate.service.docs import docs_routes
from headgate.service.host import host
from headgate.service.transports.http import HttpWire
from tests.service.docs.browser import Page, browser
from tests.service.docs.cases import module_of
from tests.service.docs.shop import Shop

Serve = Callable[[Any], Awaitable[str]]


@pytest.fixture
async def page(serve: Serve, tmp_path: Path) -> AsyncIterator[Page]:
    """The page of two services, open in a window of a desk."""
    hosted = host([Shop(), module_of("orders").Orders()])
    docs = docs_routes([each.contract for each in hosted], title="The shop")
    url = await serve(HttpWire(hosted, extra=dict.fromkeys(docs.prefixes, docs)))
    async with browser(tmp_path) as found:
        await found.size(1280, 900)
        await found.open(f"{url}/docs")
        yield found
        assert await found.run("window.violations") == []


def of(card: str, rest: str = "") -> str:
    """A selector for what is in the card of a method."""
    return f"document.querySelector('#{card} {rest}'.trim())"


async def filled(page: Page, card: str, text: str) -> None:
    """Open a method's card and write its request."""
    await page.run(f"location.hash = '#{card}'")
    await page.until(of(card, "textarea"))
    await page.run(f"{of(card, 'textarea')}.select(), {of(card, 'textarea')}.focus()")
    await page.write(text)


async def test_everything_of_the_contracts_is_shown(page: Page) -> None:
    """Services, methods, types, faults and guards are on the page, and every link leads somewhere."""
    await page.run("for (const each of document.querySelectorAll('details.method')) each.open = true")
    await page.until("document.querySelectorAll('details.method .body').length === 18")
    text = await page.run("document.body.innerText")
    dangling = (
        "[...document.querySelectorAll('a[href^=\"#\"]')].filter((a) => !document.getElementById(a.hash.slice(1)))"
    )

    for told in (
        "out_of_stock",
        "one of the roles clerk, manager",
        "payments.settled",
        "What is wanted.",
        "length ≥ 1",
    ):
        assert told in text
    assert await page.run(f"{dangling}.length") == 0


async def test_a_call_shows_its_answer(page: Page) -> None:
    """A request written into the form is posted with Ctrl and Enter, and what comes back is shown."""
    await filled(page, "shop-Place", '{"sku": "tea", "quantity": 3}')
    await page.press("Enter", control=True)
    answer = await page.until(f"{of('shop-Place', '.answer.good')}?.innerText")

    assert "200" in answer
    assert '"quantity": 3' in answer


async def test_a_refusal_shows_the_fault(page: Page) -> None:
    """A fault is shown with its status and document, text that is no JSON before anything is sent."""
    await filled(page, "shop-Place", '{"sku": "none"}')
    await page.run(f"{of('shop-Place', 'button.main')}.click()")
    assert "out_of_stock" in await page.until(f"{of('shop-Place', '.answer.bad pre')}?.innerText")

    await filled(page, "shop-Place", "{")
    await page.run(f"{of('shop-Place', 'button.main')}.click()")
    assert "no JSON" in await page.until(f"{of('shop-Place', '.answer.bad')}?.innerText")


async def test_a_stream_is_shown_as_it_comes(page: Page) -> None:
    """Messages appear while the stream goes on, until it ends or is stopped."""
    await filled(page, "shop-Count", '{"upto": 3}')
    await page.press("Enter", control=True)
    await page.until(f"{of('shop-Count', '.answer')}.innerText.includes('ended after 3')")
    assert await page.run("document.querySelectorAll('#shop-Count .answer pre').length") == 3

    await filled(page, "shop-Endless", "{}")
    await page.press("Enter", control=True)
    await page.until(f"{of('shop-Endless', '.answer pre')}")
    await page.run(f"{of('shop-Endless', '[type=button]')}.click()")
    await page.until(f"{of('shop-Endless', '.answer')}.innerText.includes('Stopped')")


async def test_streams_that_go_in_are_lists(page: Page) -> None:
    """A method that takes a stream is sent a list, message by message."""
    await filled(page, "shop-Total", "[1, 2, 3]")
    await page.press("Enter", control=True)

    assert (await page.until(f"{of('shop-Total', '.answer.good pre')}?.innerText")).strip() == "6"


async def test_search_is_a_key_away(page: Page) -> None:
    """`/` goes to the search, which leaves what has all the words; Escape shows everything again."""
    await page.press("/")
    await page.write("forget order")
    await page.until("document.querySelectorAll('details.method:not([hidden])').length === 1")
    await page.press("Escape")
    await page.until("document.querySelectorAll('details.method[hidden]').length === 0")


async def test_the_page_fits_a_phone(page: Page) -> None:
    """At 320 pixels nothing of the page is to the side of it."""
    await page.size(320, 640)
    await page.run("for (const each of document.querySelectorAll('details.method')) each.open = true")
    await page.until("document.querySelectorAll('details.method .body').length === 18")

    assert await page.run("document.documentElement.scrollWidth") <= 320


async def test_dark_is_a_choice_that_stays(page: Page) -> None:
    """The page follows the system until told otherwise, and remembers."""
    light = await page.run("getComputedStyle(document.body).backgroundColor")
    await page.run("document.getElementById('theme').click()")
    dark = await page.run("getComputedStyle(document.body).backgroundColor")
    await page.open(await page.run("location.href.split('#')[0]"))

    assert light != dark
    assert await page.run("getComputedStyle(document.body).backgroundColor") == dark
    assert await page.run("document.getElementById('theme').getAttribute('aria-pressed')") == "true"


async def test_everything_has_a_name(page: Page) -> None:
    """Every field and button has a label, and every heading follows the one above it."""
    await page.run("for (const each of document.querySelectorAll('details.method')) each.open = true")
    await page.until("document.querySelectorAll('details.method .body').length === 18")
    nameless = "[...document.querySelectorAll('input, textarea')].filter((each) => !each.labels.length)"
    silent = "[...document.querySelectorAll('button, summary')].filter((each) => !each.innerText.trim())"

    assert await page.run(f"{nameless}.length") == 0
    assert await page.run(f"{silent}.length") == 0
