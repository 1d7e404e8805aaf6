"""Whether a recording may run, or is held: what its header says it will take, compared with the caps.

Without a cap and a price table nothing is read, and every recording is accepted.
"""

from __future__ import annotations

from speechpipe.backends.ports import Store, Uploads
from speechpipe.contract import Cap, Hold, Options, Quote, Recording, Source, Stage, Status, Totals
from speechpipe.contract.errors import ErrorCode, Rejected, under_customer_key
from speechpipe.contract.prices import PriceTable, money
from speechpipe.pipeline.probe import probe
from speechpipe.record.report import clock_time
from speechpipe.settings import Limits


def check_object(source: Source, max_bytes: int) -> None:
    """Raise Rejected for an object that is empty, too large, or encrypted under the uploader's own key."""
    if source.size == 0:
        raise Rejected(ErrorCode.EMPTY_OBJECT, "the file is empty (0 bytes)")
    if source.size > max_bytes:
        raise Rejected(ErrorCode.TOO_LARGE, f"the file has {source.size} bytes; at most {max_bytes} are allowed here")
    if source.customer_key:
        raise under_customer_key()


def quote(source: Source, options: Options, *, uploads: Uploads, prices: PriceTable | None) -> Quote:
    """What an object will take in the stages that were asked for. Raises Rejected(object_gone)."""
    with uploads.open(source) as stream:
        length = probe(stream, source.size, source.name)
    if prices is None:
        return Quote(audio_seconds=length.seconds, exact=length.exact)
    return prices.quote(length.seconds, exact=length.exact, channels=_channels(options, length.channels))


def _channels(options: Options, found: int) -> dict[Stage, int]:
    """How many channels each stage analyses: one mix, or each channel on its own."""
    split = found if options.channels == "split" else 1
    chosen = sum(channel < found for channel in options.emotion) if isinstance(options.emotion, tuple) else split
    return {stage: split if stage is Stage.STT else max(chosen, 1) for stage in options.stages}


def admitted(recording: Recording, *, store: Store, uploads: Uploads, limits: Limits) -> Recording:
    """The recording with its quote, and held if it is over a cap.

    The daily caps count what was accepted since midnight UTC. There is no lock, so uploads that arrive at the same
    moment do not see each other and may exceed a cap together.
    """
    single = (limits.max_duration, limits.max_cost)
    daily = (limits.max_duration_per_day, limits.max_cost_per_day)
    if limits.prices is None and not any(cap is not None for cap in single + daily):
        return recording
    try:
        quoted = quote(recording.source, recording.options, uploads=uploads, prices=limits.prices)
    except Rejected:  # the object is gone already: the worker will say so
        return recording
    midnight = recording.queued_at.replace(hour=0, minute=0, second=0, microsecond=0)
    today = store.accepted_since(midnight) if any(cap is not None for cap in daily) else Totals()
    held = _hold(recording.id, quoted, limits, today)
    if held is None:
        return recording.model_copy(update={"quote": quoted})
    return recording.model_copy(update={"quote": quoted, "hold": held, "status": Status.HELD, "accepted_at": None})


def _hold(recording_id: str, quoted: Quote, limits: Limits, today: Totals) -> Hold | None:
    """The first cap that the recording is over.

    An estimate may be ten times too long, so it puts nothing over a cap: a recording of unknown length is held only
    once a day's cap is used up. What it turns out to take is still limited, by SPEECHPIPE_MAX_SECONDS.
    """
    length, cost = quoted.audio_seconds, quoted.cost.amount if quoted.cost else 0.0
    currency = quoted.cost.currency if quoted.cost else ""
    about, guess = ("", "") if quoted.exact else ("about ", ", which is an estimate")
    caps: tuple[tuple[Cap, float | None, float, float], ...] = (
        ("max_duration", limits.max_duration, length, 0.0),
        ("max_cost", limits.max_cost, cost, 0.0),
        ("max_duration_per_day", limits.max_duration_per_day, length, today.audio_seconds),
        ("max_cost_per_day", limits.max_cost_per_day, cost, today.cost),
    )
    for code, most, found, before in caps:
        if most is None or before + (found if quoted.exact else 0.0) <= most:
            continue

        def shown(value: float, code: Cap = code) -> str:
            return clock_time(value) + " of audio" if "duration" in code else money(value, currency)

        earlier = f", after {shown(before)} accepted today" if code.endswith("_per_day") else ""
        message = (
            f"{about}{shown(found)}{guess}{earlier}; {code} is {shown(most)}."
            f" `speechpipe release {recording_id}` lets it run"
        )
        return Hold(code=code, message=message)
    return None
