#!/usr/bin/env python3
"""The page of `edgeld serve` in a real, headless browser: what people see and do.

A picture is answered, a device that is killed shows within two seconds, one that starts shows
without reload, the page says when the server is gone; keyboard, small screens, dark mode; axe-core
finds nothing serious; nothing is fetched from elsewhere. --shots DIR keeps screenshots.
Exit code 77: there is no browser.
"""

import os
import shutil
import signal
import sys
import time
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "deploy/lab"))
try:
    from axe_playwright_python.sync_playwright import Axe
    from playwright.sync_api import expect, sync_playwright
except ImportError:
    print("SKIPPED: playwright is not installed")
    sys.exit(77)
from processes import Bars, Watched, Workers, spawn  # noqa: E402

CLASSIFIER = ROOT / "actors/assets/efficientnet_lite0.onnx"
LABELS = ROOT / "actors/assets/imagenet_labels.txt"
DETECTOR = ROOT / "runtime/tests/golden/detector.onnx"
PICTURE = ROOT / "actors/assets/coffee.jpg"
SEEN_MS = 2000  # within which a loss shows


def main() -> int:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--shots", type=Path)
    parser.add_argument("--binary", default=str(ROOT / "target/release/edgeld"))
    arguments = parser.parse_args()
    browser_path = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser_path is None:
        print("SKIPPED: there is no chromium")
        return 77
    bars = Bars()
    options = ("--no-mdns", "--threads", "1", "--pace", "0.3")
    with Workers(arguments.binary, 3, options) as workers, sync_playwright() as playwright:
        command = [arguments.binary, "serve", "--json", "--spread", "--devices", "4", "--model",
                   f"net={CLASSIFIER},task=classify,labels={LABELS}", "--model",
                   f"eyes={DETECTOR}", "--pace", "0.3", "--threads", "1",
                   "--listen", "127.0.0.1:0", "--grpc", "127.0.0.1:0", *workers.join()]
        server = Watched(spawn(command, workers.environment("server")))
        try:
            url = f"http://{server.wait_for('serving', 120)['http']}/"
            browser = playwright.chromium.launch(executable_path=browser_path,
                                                 args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1200, "height": 900})
            fetched: list[tuple[str, int]] = []
            page.on("response", lambda response: fetched.append((response.url, int(
                response.headers.get("content-length", 0)))))
            problems: list[str] = []
            page.on("pageerror", lambda error: problems.append(str(error)))
            page.goto(url)
            checks(page, bars, workers, server, Axe(), url, arguments.shots)
            bars.check("nothing from elsewhere", url, len(fetched),
                       all(one.startswith(url) or one.startswith(("data:", "blob:"))
                           for one, _ in fetched))
            size = sum((ROOT / "actors/src/serve/page" / name).stat().st_size
                       for name in ("index.html", "page.css", "page.js"))
            bars.check("size", "< 200 KB", f"{size / 1e3:.1f} KB", size < 200_000)
            bars.check("no errors in its script", "none", problems, not problems)
            browser.close()
        finally:
            server.interrupt()
    bars.exit()
    return 0


def checks(page, bars, workers, server, axe, url, shots) -> None:
    def shot(name: str) -> None:
        if shots:
            shots.mkdir(parents=True, exist_ok=True)
            page.screenshot(path=shots / f"{name}.png", full_page=True)

    def devices() -> int:
        return page.locator("#devices li:not(.lost)").count()

    expect(page.locator("#devices li")).to_have_count(4)
    expect(page.locator("#split div").nth(1)).to_be_visible()
    bars.check("devices and rows", "4, several", devices(), devices() == 4)

    # One click opens the chooser, the picture is answered.
    page.set_input_files("#file", PICTURE)
    expect(page.locator("#answer")).to_be_visible(timeout=20_000)
    first = page.locator("#found tr").first.inner_text()
    bars.check("a picture is answered after one choice", "espresso or cup", first,
               "espresso" in first or "cup" in first)
    expect(page.locator("#last")).not_to_have_text("–")
    shot("light")

    page.select_option("#model", "eyes")
    page.set_input_files("#file", PICTURE)
    expect(page.locator("#found")).to_contain_text("spoon")
    bars.check("boxes of a detector", "cup, spoon", page.locator("#found").inner_text(), True)
    page.select_option("#model", "net")

    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        results = axe.run(page)
        serious = [one["id"] for one in results.response["violations"]
                   if one["impact"] in ("serious", "critical")]
        bars.check(f"axe-core, {scheme}", "nothing serious", serious, not serious)
    shot("dark")
    page.emulate_media(color_scheme="light", reduced_motion="reduce")

    page.set_viewport_size({"width": 360, "height": 740})
    overflow = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    bars.check("a phone scrolls one way only", "<= 0 px too wide", overflow, overflow <= 0)
    shot("phone")
    page.set_viewport_size({"width": 1200, "height": 900})

    page.evaluate("document.activeElement.blur()")
    reached = []
    for _ in range(12):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
    bars.check("by keyboard", "model, file, stage", reached,
               {"model", "file", "stage"} <= set(reached))

    victim = workers.running[0]
    os.kill(victim.process.pid, signal.SIGKILL)
    begun = time.monotonic()
    expect(page.locator("#devices li:not(.lost)")).to_have_count(3, timeout=10_000)
    took = (time.monotonic() - begun) * 1e3
    bars.check("a killed device shows", f"<= {SEEN_MS} ms", f"{took:.0f} ms", took <= SEEN_MS)
    expect(page.locator("#changes")).to_contain_text("lost")
    shot("lost")
    victim.end()
    page.set_input_files("#file", PICTURE)
    expect(page.locator("#said")).to_contain_text("answered")

    os.kill(server.process.pid, signal.SIGTERM)
    expect(page.locator("#status")).to_have_class("lost", timeout=10_000)
    bars.check("says so when the server is gone", "does not answer",
               page.locator("#status").inner_text(), True)
    shot("gone")


if __name__ == "__main__":
    sys.exit(main())
