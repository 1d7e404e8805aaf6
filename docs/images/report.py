"""Takes `report-call.png`: the report of the stereo call among the samples, in Chromium.

python docs/images/report.py docs/images/report-call.png
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parent.parent.parent
SAMPLE = "call_stereo.wav"
WORD = "consequence"  #: clicked, so that the player moves there


def main() -> None:
    """Run the sample through the pipeline, and write the picture to the first argument."""
    with tempfile.TemporaryDirectory() as folder:
        for path in (ROOT / "workers/demo/samples").glob(f"{SAMPLE}*"):
            shutil.copy(path, folder)
        subprocess.run([Path(sys.executable).parent / "speechpipe", "run", folder, "--models", "demo"], check=True)
        (report,) = Path(folder).rglob("report.html")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1280, "height": 1180})
            page.goto(report.as_uri())
            page.get_by_text(WORD, exact=True).click()
            page.evaluate("scrollTo(0, 0)")
            page.wait_for_timeout(1000)
            page.screenshot(path=sys.argv[1])
            browser.close()


if __name__ == "__main__":
    main()
