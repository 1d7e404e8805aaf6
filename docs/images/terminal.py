"""Record `terminal.svg`: a real `speechpipe run` on some of the samples in tmux, as an SVG animated by CSS.

python docs/images/terminal.py docs/images/terminal.svg
"""

import io
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).parent.parent.parent
WIDTH, HEIGHT = 124, 30
COMMAND = "speechpipe run recordings --models demo"
SAMPLES = ("call_stereo.wav", "kennedy_1961.flac", "two_languages.mp3")  #: as many as fit on the screen
LOADING = "loading the models"  #: recorded once, because its spinner turns for seconds
#: Seconds between two captures, and for which each frame and the last frame are shown.
CAPTURE_SECONDS, FRAME_SECONDS, LAST_FRAME_SECONDS = 0.3, 0.7, 6.0


def main() -> None:
    """Record, and write the SVG to the path in the first argument."""
    with tempfile.TemporaryDirectory() as folder:
        recordings = Path(folder) / "recordings"
        recordings.mkdir()
        for path in (path for name in SAMPLES for path in (ROOT / "workers/demo/samples").glob(f"{name}*")):
            shutil.copy(path, recordings)
        frames = record(folder)
    Path(sys.argv[1]).write_text(animate([to_svg(frame) for frame in frames]))


def record(folder: str) -> list[str]:
    """Run the command in tmux and return each distinct frame as ANSI text."""
    tmux = ["tmux", "-L", "speechpipe-recording"]
    shell = f"PATH={Path(sys.executable).parent}:$PATH PS1='$ ' bash --norc"
    size = ["-x", str(WIDTH), "-y", str(HEIGHT)]
    subprocess.run([*tmux, "new-session", "-d", "-s", "one", *size, "-c", folder, shell], check=True)
    subprocess.run(
        [*tmux, "send-keys", "-t", "one", f"{COMMAND}; tmux -L speechpipe-recording wait-for -S over", "Enter"]
    )
    waiting = subprocess.Popen([*tmux, "wait-for", "over"])
    frames: list[str] = []
    while True:
        ended = waiting.poll() is not None
        capture = subprocess.run(
            [*tmux, "capture-pane", "-e", "-p", "-t", "one"], capture_output=True, text=True, check=True
        )
        frame = capture.stdout.replace("; tmux -L speechpipe-recording wait-for -S over", "")
        loading = bool(frames) and LOADING in frame and LOADING in frames[-1]
        if not loading and (not frames or frame != frames[-1]):
            frames.append(frame)
        if ended:
            subprocess.run([*tmux, "kill-server"], check=True)
            return frames
        time.sleep(CAPTURE_SECONDS)


def to_svg(frame: str) -> str:
    """Draw one frame."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    lines = frame.split("\n")[:HEIGHT]
    for line in [*lines, *[""] * (HEIGHT - len(lines))]:
        console.print(Text.from_ansi(line), no_wrap=True, crop=True)
    svg = console.export_svg(title="speechpipe")
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.S)  # fonts would be fetched from the network


def animate(pictures: list[str]) -> str:
    """Show the frames in a loop; readers who prefer reduced motion see only the last."""
    head = re.match(r"<svg[^>]*viewBox=\"([^\"]*)\"", pictures[0])
    assert head
    total = FRAME_SECONDS * (len(pictures) - 1) + LAST_FRAME_SECONDS
    rules, parts = [".frame{visibility:hidden}"], []
    for number, picture in enumerate(pictures):
        picture = re.sub(r"terminal-\d+", f"t{number}", picture)
        start, end = number * FRAME_SECONDS / total * 100, (number + 1) * FRAME_SECONDS / total * 100
        last = number == len(pictures) - 1
        stop = "" if last else f"{end:.3f}%{{visibility:hidden}}"
        rules.append(f"@keyframes k{number}{{0%{{visibility:hidden}}{start:.3f}%{{visibility:visible}}{stop}}}")
        rules.append(f"#f{number}{{animation:k{number} {total:.2f}s step-end infinite}}")
        inner = picture[picture.index(">") + 1 : picture.rindex("</svg>")]
        parts.append(f'<g id="f{number}" class="frame">{inner}</g>')
    still = f".frame{{animation:none!important}}#f{len(pictures) - 1}{{visibility:visible}}"
    rules.append(f"@media(prefers-reduced-motion:reduce){{{still}}}")
    style = f"<style>{''.join(rules)}</style>"
    return f'<svg viewBox="{head[1]}" xmlns="http://www.w3.org/2000/svg">{style}{"".join(parts)}</svg>\n'


if __name__ == "__main__":
    main()
