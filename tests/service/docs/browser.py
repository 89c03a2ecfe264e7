"""A real browser, driven over the Chrome DevTools Protocol: just what the tests of the page need."""

import asyncio
import base64
import json
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect

_WATCH = """
window.violations = [];
addEventListener("securitypolicyviolation", (event) => window.violations.push(event.violatedDirective));
addEventListener("error", (event) => window.violations.push(String(event.message)));
"""
_UNTIL = """
(async () => {
  for (;;) {
    const found = (() => (%s))();
    if (found) return found;
    await new Promise((done) => setTimeout(done, 10));
  }
})()
"""


def chromium() -> str:
    """The browser; the test is skipped without one."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("needs Chromium")
        pytest.skip("needs Chromium")
    return found


class Page:
    """One tab."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._number = 0
        self._loaded = False

    async def send(self, method: str, **params: Any) -> Any:
        """The result of one command. What the browser tells besides is passed over."""
        self._number += 1
        await self._socket.send(json.dumps({"id": self._number, "method": method, "params": params}))
        while True:
            told = await self._told()
            if told.get("id") == self._number:
                assert "error" not in told, told
                return told["result"]

    async def _told(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(await self._socket.recv())
        if told.get("method") == "Page.loadEventFired":
            self._loaded = True
        return told

    async def run(self, script: str) -> Any:
        """What an expression is, or comes to."""
        told = await self.send("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    async def until(self, condition: str) -> Any:
        """What an expression is once it is true."""
        return await asyncio.wait_for(self.run(_UNTIL % condition), 15)

    async def open(self, url: str) -> None:
        """Show a page that tells when it is ready."""
        self._loaded = False
        await self.send("Page.navigate", url=url)
        while not self._loaded:
            await self._told()
        await self.until("document.documentElement.dataset.ready")

    async def press(self, key: str, *, control: bool = False) -> None:
        """Press and release a key."""
        code = {"Enter": 13, "Escape": 27, "Tab": 9}.get(key, ord(key.upper()[0]))
        text = {"text": key} if len(key) == 1 and not control else {}
        told = {"key": key, "windowsVirtualKeyCode": code, "modifiers": 2 if control else 0}
        await self.send("Input.dispatchKeyEvent", type="keyDown", **told, **text)
        await self.send("Input.dispatchKeyEvent", type="keyUp", **told)

    async def write(self, text: str) -> None:
        """Type into what has the focus."""
        await self.send("Input.insertText", text=text)

    async def size(self, width: int, height: int, *, dark: bool = False) -> None:
        """Make the window this large, in CSS pixels."""
        await self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        await self.send("Emulation.setEmulatedMedia", features=scheme)

    async def picture(self, file: Path) -> None:
        """Keep what is seen."""
        told = await self.send("Page.captureScreenshot", format="png")
        await asyncio.to_thread(file.write_bytes, base64.b64decode(told["data"]))


@asynccontextmanager
async def browser(folder: Path) -> AsyncIterator[Page]:
    """An empty tab of a browser that is gone afterwards."""
    process = await asyncio.create_subprocess_exec(
        chromium(),
        *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
        *("--remote-debugging-port=0", f"--user-data-dir={folder}", "about:blank"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        port = await asyncio.wait_for(_port(process), 30)
        async with httpx.AsyncClient(trust_env=False) as client:
            tabs = (await client.get(f"http://127.0.0.1:{port}/json")).json()
        url = next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
        async with connect(url, max_size=None, proxy=None) as socket:
            page = Page(socket)
            await page.send("Page.enable")
            await page.send("Page.addScriptToEvaluateOnNewDocument", source=_WATCH)
            yield page
    finally:
        process.terminate()
        await process.wait()


async def _port(process: asyncio.subprocess.Process) -> str:
    assert process.stderr is not None
    async for line in process.stderr:
        if b"DevTools listening on" in line:
            return line.decode().partition("127.0.0.1:")[2].partition("/")[0]
    raise AssertionError("the browser ended before it listened")
