"""Values of the flags of ``fibstream phantom``; a wrong value raises WrongUse naming the flag."""

from collections.abc import Collection
from dataclasses import replace

from fibstream.cli.flags import parse_chunk, parse_triple
from fibstream.core.dataset import clip_chunk
from fibstream.core.errors import WrongUse
from fibstream.phantom import Look, PhantomSpec
from fibstream.phantom.light import MODALITIES
from fibstream.phantom.light.drawing import FAMILIES
from fibstream.phantom.predictions import Noise
from fibstream.phantom.spec import LOOKS, ORGANELLES


def parse_names(
    flag: str, text: str | None, known: Collection[str], default: tuple[str, ...]
) -> tuple[str, ...]:
    """Parse ``FLAG A,B`` as distinct names among ``known``; ``default`` if it is not given."""
    if text is None:
        return default
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    if unknown := [name for name in names if name not in known]:
        raise WrongUse(f"{flag} {unknown[0]}: expected some of {', '.join(known)}")
    return names


def parse_light(text: str | None, warp: str) -> tuple[str, ...]:
    """Parse ``--light A,B``, nothing if it is not given, and check ``--warp``."""
    if warp not in FAMILIES:
        raise WrongUse(f"--warp {warp}: expected {', '.join(FAMILIES)}")
    return parse_names("--light", text, MODALITIES, ())


def parse_noise(
    deviation_nm: float | None, length_nm: float | None, *, wanted: bool
) -> Noise | None:  # fmt: skip
    """Return the noise of ``--predictions``; None where they are not wanted."""
    given = {"deviation_nm": deviation_nm, "length_nm": length_nm}
    known = {name: value for name, value in given.items() if value is not None}
    if known and not wanted:
        raise WrongUse("--noise-nm and --noise-length-nm are of --predictions; expected it, too")
    return Noise(**known) if wanted else None


def parse_missing(text: str | None) -> tuple[int, ...]:
    """Parse ``--missing Z,Z,..``; none if it is not given."""
    try:
        return tuple(sorted({int(z) for z in text.split(",")})) if text else ()
    except ValueError:
        raise WrongUse(f"--missing {text}: expected slices such as 11,40") from None


def make_look(name: str, jitter: float, missing: str | None) -> Look:
    """Return the look of this name with the given defects."""
    if name not in LOOKS:
        raise WrongUse(f"--look {name}: expected {', '.join(LOOKS)}")
    return replace(LOOKS[name], jitter=jitter, missing=parse_missing(missing))


def make_spec(
    size: str, voxel_size_nm: str, seed: int, organelles: str | None, look: Look,
    chunk: str | None, *, tissue: bool,
) -> PhantomSpec:  # fmt: skip
    """Return the specification that the flags give."""
    shape = parse_triple(size, "--size", int)
    edges = parse_chunk(chunk) or (128, 128, 128)
    return PhantomSpec(
        shape, parse_triple(voxel_size_nm, "--voxel-size-nm", float), seed,
        parse_names("--organelles", organelles, ORGANELLES, ORGANELLES), look=look, tissue=tissue,
        chunk=clip_chunk(edges, shape),
    )  # fmt: skip
