"""Open every page of the site in a headless browser, and fail on any error in its console: ``make browse``."""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

SITE = Path(__file__).parents[1] / "build" / "site"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--enable-logging=stderr"]


class Quiet(SimpleHTTPRequestHandler):
    """Serves files without a word."""

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def main() -> int:
    """Return 0 if every page was shown without an error."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        sys.stderr.write(f"none of {', '.join(BROWSERS)} is here; install one\n")
        return 2
    server = ThreadingHTTPServer(("localhost", 0), functools.partial(Quiet, directory=str(SITE)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    pages = sorted(path.parent.relative_to(SITE) for path in SITE.rglob("index.html"))
    faults = 0
    for page in pages:
        said = _console(browser, f"http://localhost:{server.server_port}/{page.as_posix()}/")
        for line in said:
            sys.stderr.write(f"{page}: {line}\n")
        faults += len(said)
    sys.stdout.write(f"{len(pages)} pages, {faults} faults\n")
    return 1 if faults or not pages else 0


def _console(browser: str, address: str) -> list[str]:
    """Return what a page writes to the console, and that it is empty if it is."""
    with tempfile.TemporaryDirectory() as profile:
        options = [*OPTIONS, f"--user-data-dir={profile}", "--virtual-time-budget=3000", "--dump-dom"]
        done = subprocess.run([browser, *options, address], capture_output=True, text=True, check=False, timeout=120)
    said = re.findall(r"CONSOLE.*", done.stderr)
    if "<h1" not in done.stdout:
        said.append("no heading: it is not shown")
    return said


if __name__ == "__main__":
    sys.exit(main())
