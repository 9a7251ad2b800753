"""What a Prometheus tells of the services that it scrapes: replicas, lag and freshness."""

import http.client
import json
import math
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from typing import Any

from fibstream.core.echo import cut, echo
from fibstream.core.errors import Retryable, WrongUse

TIMEOUT_S = 10
MAX_BYTES = 1 << 20
MAX_ROWS = 100  # services, of all deployments that one Prometheus scrapes
BY = "by (namespace, service)"
# What is asked, by the name of its column. Every process has the series that is counted.
EXPRESSIONS = {
    "processes": f"count {BY} (fibstream_unreadable_items_total)",
    "waiting": f"sum {BY} (fibstream_queue_tasks)",
    "behind": f"sum {BY} (fibstream_ledger_lag_entries)",
    "tasks_per_s": f'sum {BY} (rate(fibstream_tasks_total{{outcome="computed"}}[5m]))',
    "result_s": "histogram_quantile(0.95, sum by (namespace, service, le)"
    " (rate(fibstream_freshness_seconds_bucket[30m])))",
}
HEADS = {
    "processes": "processes", "waiting": "tasks waiting", "behind": "entries behind",
    "tasks_per_s": "tasks a second", "result_s": "results, 95 %",
}  # fmt: skip
Ask = Callable[[str], Iterable[Any]]


def services_of(ask: Ask) -> dict[str, dict[str, float | None]]:
    """Return the figures of each service, by its name, or NAMESPACE/NAME; None where it has none.

    ``ask`` returns the series of an expression as Prometheus' API does. Raises WrongUse for what is
    no such series.
    """
    found: dict[str, dict[str, float | None]] = {}
    for column, expression in EXPRESSIONS.items():
        for series in ask(expression):
            name, value = _point(series)
            found.setdefault(name, dict.fromkeys(EXPRESSIONS))[column] = value
    return dict(sorted(found.items())[:MAX_ROWS])


def _point(series: Any) -> tuple[str, float | None]:
    try:
        labels, value = series["metric"], float(series["value"][1])
        name = "/".join(str(labels[key]) for key in ("namespace", "service") if labels.get(key))
    except (LookupError, TypeError, ValueError, AttributeError):
        raise WrongUse(f"--prometheus: answered {echo(str(series))}, which is no series") from None
    return cut(name), value if math.isfinite(value) else None  # a rate of nothing is NaN


def asking(url: str) -> Ask:
    """Return what asks the Prometheus at ``url``.

    It raises WrongUse where that is no address or no Prometheus, Retryable where none answers.
    """
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise WrongUse(f"--prometheus {echo(url)}: expected http://HOST:PORT")

    def ask(expression: str) -> Iterable[Any]:
        words = urllib.parse.urlencode({"query": expression})
        address = f"{url.rstrip('/')}/api/v1/query?{words}"
        try:
            text = _in_time(lambda: _read(address))
            if len(text) > MAX_BYTES:
                raise WrongUse(f"--prometheus {echo(url)}: answered over {MAX_BYTES} bytes")
            result = json.loads(text)["data"]["result"]
        except urllib.error.HTTPError as error:
            error.close()  # it holds the connection
            raise WrongUse(f"--prometheus {echo(url)}: answered {error.code}") from None
        except (OSError, http.client.HTTPException) as error:
            told = cut(str(getattr(error, "reason", error)))
            raise Retryable(
                f"--prometheus {echo(url)}: no answer: {told}; expected a Prometheus there"
            ) from None
        except (ValueError, LookupError, TypeError, RecursionError):
            raise WrongUse(f"--prometheus {echo(url)}: it is no Prometheus") from None
        if not isinstance(result, list):
            raise WrongUse(f"--prometheus {echo(url)}: it is no Prometheus")
        return result

    return ask


def _read(address: str) -> bytes:
    with urllib.request.urlopen(address, timeout=TIMEOUT_S) as answer:
        text: bytes = answer.read(MAX_BYTES + 1)
        return text


def _in_time(work: Callable[[], bytes]) -> bytes:
    """Return what ``work`` returns; TimeoutError after `TIMEOUT_S`, though bytes still drip in."""
    done = Future[bytes]()

    def run() -> None:
        try:
            done.set_result(work())
        except Exception as error:  # whatever it is, the caller raises it
            done.set_exception(error)

    threading.Thread(target=run, daemon=True).start()  # it must not hold up the program's end
    try:
        return done.result(TIMEOUT_S)
    except TimeoutError as error:
        raise TimeoutError(str(error) or f"not whole after {TIMEOUT_S} s") from None


def table(found: Mapping[str, Mapping[str, float | None]]) -> str:
    """Return the figures of services as lines for people."""
    if not found:
        return "Prometheus has no series of fibstream"
    width = max(12, *map(len, found))
    lines = ["  ".join(["service".ljust(width), *HEADS.values()])]
    for name, figures in found.items():
        cells = [_cell(column, figures[column]).rjust(len(head)) for column, head in HEADS.items()]
        lines.append("  ".join([name.ljust(width), *cells]))
    return "\n".join(lines)


def _cell(column: str, value: float | None) -> str:
    if value is None:
        return "-"
    if column == "result_s":
        return f"{value:.1f} s"
    return f"{value:.2f}" if column == "tasks_per_s" else f"{value:.0f}"
