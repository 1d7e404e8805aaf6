"""JSON Schemas of what leaves the system, into `docs/schemas/`: `python -m speechpipe.schemas [--check]`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from speechpipe.contract import CompletionData, Frozen, Options, Partial, Record, Recording, Task

FOLDER = Path(__file__).parent.parent / "docs" / "schemas"
TYPES: tuple[type[Frozen], ...] = (CompletionData, Options, Partial, Record, Recording, Task)


def schemas() -> dict[str, str]:
    """File name -> JSON Schema (draft 2020-12) as it is written out."""
    texts = {}
    for kind in TYPES:
        schema = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
        schema |= kind.model_json_schema(mode="serialization")
        texts[f"{kind.__name__.lower()}.schema.json"] = json.dumps(schema, indent=2) + "\n"
    return texts


def main() -> None:
    """Write them; with --check say which are not current, and fail."""
    stale = []
    for name, text in schemas().items():
        path = FOLDER / name
        if path.exists() and path.read_text() == text:
            continue
        stale.append(name)
        if "--check" not in sys.argv:
            FOLDER.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    if stale:
        print("stale:" if "--check" in sys.argv else "written:", *stale)
    sys.exit(bool(stale) and "--check" in sys.argv)


if __name__ == "__main__":
    main()
