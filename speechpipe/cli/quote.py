"""What recordings would take, before anything is uploaded or run: files, folders and objects of any bucket."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from speechpipe.backends.local import STATE_FOLDER
from speechpipe.backends.local.folder import FolderUploads
from speechpipe.backends.ports import Uploads
from speechpipe.contract import Cost, Frozen, Quote, Source, Stage
from speechpipe.contract.errors import NotFound, Rejected
from speechpipe.contract.options import parse_options
from speechpipe.contract.prices import PriceTable
from speechpipe.pipeline import admission

#: A header in a bucket is a few requests, and most of their time is waiting.
THREADS = 8


class Estimate(Frozen):
    """One file's quote, or why there is none."""

    name: str
    quote: Quote | None = None
    problem: str | None = None  #: why it could not be read or would be rejected


def estimates(
    targets: Sequence[str],
    *,
    options: Mapping[str, str],
    prices: PriceTable,
    max_bytes: int,
    project: str | None = None,
) -> list[Estimate]:
    """Quote files, everything in folders, and objects by `gs://bucket/prefix`.

    Each with its own options (metadata, or `NAME.meta.json`), and `options` over those. What is wrong with one is said
    in its place. Raises SettingsMissing for a bucket without credentials.
    """

    def one(found: tuple[str, Source | None, Uploads | str]) -> Estimate:
        name, source, uploads = found
        if source is None or isinstance(uploads, str):
            return Estimate(name=name, problem=str(uploads))
        try:
            admission.check_size(source.size, max_bytes)
            asked = parse_options({**source.metadata, **options})
            return Estimate(name=name, quote=admission.quote(source, asked, uploads=uploads, prices=prices))
        except Rejected as error:
            return Estimate(name=name, problem=error.message)
        except NotFound as error:
            return Estimate(name=name, problem=str(error))
        except OSError as error:
            return Estimate(name=name, problem=error.strerror or type(error).__name__)

    with ThreadPoolExecutor(THREADS) as threads:
        return list(threads.map(one, (each for target in targets for each in _found(target, project))))


def total(rows: Iterable[Estimate], prices: PriceTable) -> Quote:
    """All quotes as one."""
    quotes = [row.quote for row in rows if row.quote]
    return Quote(
        audio_seconds=sum(quote.audio_seconds for quote in quotes),
        exact=all(quote.exact for quote in quotes),
        compute_seconds={
            stage: sum(quote.compute_seconds.get(stage, 0.0) for quote in quotes)
            for stage in Stage
            if any(stage in quote.compute_seconds for quote in quotes)
        },
        cost=Cost(amount=sum(quote.cost.amount for quote in quotes if quote.cost), currency=prices.currency),
    )


def _found(target: str, project: str | None) -> Iterator[tuple[str, Source | None, Uploads | str]]:
    """What a target stands for: names with their source and where it lies, or with what is wrong."""
    if target.startswith("gs://"):
        yield from _objects(target, project)
        return
    path = Path(target)
    if path.is_dir():
        folder = FolderUploads(path.resolve(), path / STATE_FOLDER)
        sources = list(folder.objects())
        yield from ((str(path / source.name), source, folder) for source in sources)
        if not sources:
            yield target, None, "there are no files in this folder"
    elif path.is_file():
        path = path.resolve()
        folder = FolderUploads(path.parent, path.parent / STATE_FOLDER)
        yield target, folder.find(path.name), folder
    else:
        yield target, None, "there is no such file"


def _objects(uri: str, project: str | None) -> Iterator[tuple[str, Source | None, Uploads | str]]:
    from google.api_core.exceptions import GoogleAPICallError

    from speechpipe.backends import gcp

    name, _, prefix = uri.removeprefix("gs://").partition("/")
    bucket = gcp.bucket(name, project)
    try:
        sources = [source for source in bucket.objects(prefix) if not source.name.endswith("/")]
    except GoogleAPICallError as error:
        yield uri, None, f"{error.code} {error.reason or error.message}"
        return
    yield from ((source.uri, source, bucket) for source in sources)
    if not sources:
        yield uri, None, "there are no objects whose names begin so"
