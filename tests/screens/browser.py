"""Debian's chromium without a screen, before a page.

with browser(360, 800, dark=True) as chrome: ...
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.support.waiting import wait_until

DRIVER = "/usr/bin/chromedriver"
CHROMIUM = "/usr/bin/chromium"
PATIENCE_S = 30.0
_FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")


class Browser:
    """What a test does with a browser."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def opens(self, url: str) -> Browser:
        """Load the page; wait until it is live."""
        self.driver.get(url)
        self.sees("#live", "live")
        return self

    def all(self, selector: str) -> list[Any]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def text(self, selector: str) -> str:
        """The text of the first such element, "" without one."""
        script = "const e = document.querySelector(arguments[0]); return e ? e.textContent : ''"
        return str(self.driver.execute_script(script, selector))

    def sees(self, selector: str, text: str) -> None:
        wait_until(
            lambda: text in self.text(selector),
            f"{text!r} in {selector}: {self.text(selector)!r}",
            PATIENCE_S,
        )

    def server(self, name: str) -> str:
        """The selector of a server's row, by `backend/server`."""
        return f'tr.server[data-key="S/{name}"]'

    def sees_state(self, name: str, state: str) -> None:
        """The server has this status, word for word."""
        selector = f"{self.server(name)} .state"
        wait_until(
            lambda: self.text(selector) == state,
            f"{name} is {state}; it is {self.text(selector)}",
            PATIENCE_S,
        )

    def clicks(self, selector: str) -> None:
        (found,) = [each for each in self.all(selector) if each.is_displayed()]
        found.click()

    def presses(self, keys: str) -> None:
        """Type where the focus is."""
        self.driver.switch_to.active_element.send_keys(keys)

    def runs(self, script: str) -> Any:
        return self.driver.execute_script(f"return {script}")

    def complaints(self) -> list[str]:
        """What the browser found wrong with the page, the policy's refusals among it."""
        return [entry["message"] for entry in self.driver.get_log("browser")]


@contextmanager
def browser(width: int = 1300, height: int = 900, *, dark: bool = False) -> Iterator[Browser]:
    """A browser with a window of this size, which ends with the block."""
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in _FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        yield Browser(driver)
    finally:
        driver.quit()


__all__ = ["PATIENCE_S", "Browser", "Keys", "browser"]
