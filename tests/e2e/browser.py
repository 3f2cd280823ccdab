"""A person at Airflow's UI: one user, signed in, in a headless Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Page, Response, sync_playwright

from stack import credentials
from stack.environment import url
from stack.settings import StackSettings
from stack.setup import system_packages

#: Milliseconds that a page may take on a machine that is busy with everything else.
_PATIENCE = 60_000
#: Chromium calls home of its own accord; a test talks to loopback only.
_QUIET = [
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]


@contextmanager
def signed_in(stack: StackSettings, user: str) -> Iterator[Page]:
    """The home page as ``user`` sees it after giving their name and password."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=system_packages.browser(), args=_QUIET)
        page = browser.new_page(viewport={"width": 1600, "height": 1000})
        page.set_default_timeout(_PATIENCE)
        page.goto(url(stack, "airflow"))
        page.locator("input[name=username]").fill(user)
        page.locator("input[name=password]").fill(credentials.airflow_password(stack, user))
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(lambda address: "/auth/" not in address)
        try:
            yield page
        finally:
            browser.close()


def press(page: Page, option: str) -> Response:
    """Press an option of the question that the page shows; the server's response."""
    with page.expect_response(lambda response: response.request.method == "PATCH") as answered:
        page.get_by_role("button", name=option, exact=True).click()
    return answered.value


def groups_in_graph(page: Page, address: str) -> set[str]:
    """The task groups, closed, that the graph of the DAG run at ``address`` shows."""
    page.goto(address)
    page.get_by_label("Show Graph").click()
    groups = page.locator(".react-flow__node").filter(has_text="Task Group")
    groups.first.wait_for()
    return {text.splitlines()[0] for text in groups.all_inner_texts()}
