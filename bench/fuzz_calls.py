"""Many calls of every service: ``python -m bench.fuzz_calls [CALLS] [SEED] [SERVICE ...]``.

They are drawn from the protos. It prints, of each service, the answers by code, what was wrong, and
how the process grew.
"""

import resource
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

from fibstream import registry
from fibstream.runtime.root import Root
from tests.integration.test_fuzzed_calls import MAX_DETAIL, binding_of, fill, lands
from tests.support.fuzzing import faults, methods

SHOWN = 10  # wrong answers of a service


def resident() -> int:
    """Return the bytes that this process has in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def fuzz(service: str, count: int, seed: int) -> bool:
    """Call one service ``count`` times; return whether all was as it must be."""
    codes: Counter[str] = Counter()
    wrong: list[str] = []
    begun = time.monotonic()
    early = 0
    with tempfile.TemporaryDirectory() as folder, closing(Root(folder)) as root:
        fill(root, Path(folder))
        binding = binding_of(service, root, Path(folder))
        servicer, calls = binding.servicer, methods(binding.name)
        for number, (code, detail) in enumerate(faults(servicer, calls, seed, count)):
            codes[code] += 1
            if code in ("INTERNAL", "UNKNOWN") or len(detail) > MAX_DETAIL:
                wrong.append(f"{code}: {detail}")
            if number == count // 10:
                early = resident()
        lives = lands(root, Path(folder))
        getattr(servicer, "close", lambda: None)()
    grown = (resident() - early) / 1e6
    seconds = time.monotonic() - begun
    print(f"{service}: {count} calls, {seconds:.0f} s, {grown:+.0f} MB since the first tenth, ",
        f"others land: {lives}, {dict(codes)}, {len(wrong)} wrong", flush=True)  # fmt: skip
    for line in sorted(set(wrong))[:SHOWN]:
        print(" ", line, flush=True)
    return lives and not wrong


if __name__ == "__main__":
    given = [int(word) for word in sys.argv[1:3]]
    count, seed = [*given, *(100_000, 1)[len(given) :]]
    results = [fuzz(service, count, seed) for service in sys.argv[3:] or registry.names()]
    sys.exit(not all(results))
