"""Dagster's UI: a selection is materialized by clicking, a dropped file is selected from.

On a home whose scores are made, as far as the documents of the file (a smoke test: what sensors ask for after
them is in graph/scenarios/test_graph_runs.py), and on an empty one, where sensors prepare them, to the end.
"""

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import polars as pl
import pytest
from projects import sentences, write_jsonl
from served import answers, free_port
from soundness import versions_in

pytestmark = pytest.mark.browser
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SCREENSHOTS = os.environ.get("TAMIS_SCREENSHOTS")


@pytest.fixture
def browser():
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine; on Debian or Ubuntu: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


@pytest.fixture(params=[pytest.param("prepared", marks=pytest.mark.smoke), "empty"])
def project(request, tmp_path, materialized):
    """A project whose selections are not made yet."""
    if request.param == "empty":
        return request.getfixturevalue("small_project")
    project = materialized(tmp_path / "prepared")
    for name in ("near-algebra", "uniform"):
        project.forget(("selected_subset", name), ("decisions", name))
    return project


@pytest.fixture
def server(project):
    port = free_port()
    log = (project.root / "server.log").open("w")
    process = subprocess.Popen(
        project.command("ui", "--port", str(port)),
        cwd=project.root,
        env=project.environment,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        wait_for(lambda: answers(port), 120, "the server to answer", project.root / "server.log")
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)


def wait_for(condition, seconds: float, what: str, log: Path) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:.0f} s for {what}\n{log.read_text()[-4000:]}")
        time.sleep(1)


def shoot(page, name: str) -> None:
    if SCREENSHOTS:
        page.wait_for_timeout(2500)
        page.screenshot(path=f"{SCREENSHOTS}/{name}.png")


def test_a_click_selects_and_a_dropped_file_is_selected_from(project, server, browser, request):
    store, log = project.store, project.root / "server.log"
    made = ("selected_subset", "near-algebra")
    ready = ("transport_scores", "algebra")
    wait_for(lambda: ready in versions_in(store), 240, "the sensors to prepare the scores", log)
    wait_for(lambda: ("contamination", "algebra") in versions_in(store), 120, "decontamination", log)
    wait_for(lambda: ("density_scores", "") in versions_in(store), 120, "all that selections may read", log)
    assert made not in versions_in(store)

    page = browser.new_page(viewport={"width": 1600, "height": 1000})
    page.goto(f"{server}/asset-groups")
    page.wait_for_load_state("networkidle")
    shoot(page, "asset_graph")
    page.goto(f"{server}/assets/selected_subset")
    launch(page, "near-algebra")
    wait_for(lambda: made in versions_in(store), 180, "the selection", log)
    before = versions_in(store)[made]
    page.goto(f"{server}/assets/selected_subset?partition=near-algebra&view=partitions")
    page.wait_for_load_state("networkidle")
    shoot(page, "selection")

    better = sentences("algebra", 40, 7)
    write_jsonl(project.root / "landing" / "more.jsonl", better)
    wait_for(lambda: ("documents", "landing__more.jsonl") in versions_in(store), 300, "the documents", log)
    if request.node.callspec.params["project"] == "prepared":
        return
    wait_for(lambda: versions_in(store)[made] != before, 300, "the reselection", log)
    chosen = store.read("selected_subset", ["doc_id"], "selection = 'near-algebra'")
    new = store.read("occurrences", ["doc_id"], "shard LIKE '%more%'")
    assert len(chosen) == 20
    assert len(chosen.join(new, on="doc_id", how="semi")) > 0
    assert store.read("decisions", ["doc_id"], "selection = 'near-algebra'")["doc_id"].n_unique() == 220
    assert ("selected_subset", "uniform") not in versions_in(store)
    assert isinstance(chosen, pl.DataFrame)


def launch(page, key: str) -> None:
    """Materialize one partition of the asset on this page: one dialog, which asks for the partition alone."""
    page.get_by_role("button", name="Materialize").first.click()
    chooser = page.get_by_text("Select a partition or create one")
    confirm = page.get_by_role("button", name="Confirm")
    chooser.or_(confirm).first.wait_for()
    assert not confirm.count()
    chooser.click()
    page.get_by_text(key, exact=True).filter(visible=True).last.click()
    page.keyboard.press("Escape")
    page.get_by_role("button", name=re.compile("^Launch")).click()
