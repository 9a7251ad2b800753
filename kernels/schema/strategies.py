"""The sets of classes that one network of the paper predicts (training_setups v0003.2)."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from fibstream.core.echo import echo, listed
from fibstream.core.errors import WrongUse

from .classes import PREDICTED, SUPER

_MANY = (
    "ecs", "plasma_membrane", "mito", "mito_membrane", "vesicle", "vesicle_membrane", "MVB",
    "MVB_membrane", "er", "er_membrane", "ERES", "nucleus", "microtubules", "microtubules_out",
)  # fmt: skip


class Strategy(NamedTuple):
    """The classes of one network, and the paper's training setups of it by voxels of the input."""

    classes: tuple[str, ...]
    setup_4nm: str
    setup_8nm: str  # 8 nm in, 4 nm out; empty where there is none


STRATEGIES: Mapping[str, Strategy] = MappingProxyType({
    "all": Strategy(tuple(n for n in PREDICTED if n != "ERES_membrane"), "01", ""),
    "many": Strategy(_MANY, "03", "04"),
    "few/mito": Strategy(("mito", "mito_membrane", "mito_DNA"), "25", "26.1"),
    "few/er": Strategy(("er", "er_membrane"), "27.1", "28"),
    "few/golgi": Strategy(("golgi", "golgi_membrane"), "29.1", "30"),
    "few/microtubules": Strategy(("microtubules", "microtubules_out"), "31", "32"),
    "few/ribosomes": Strategy(("ribosomes",), "33", "34"),
    "few/nucleus": Strategy(("nucleus", "nucleolus"), "35", "36"),
    "few/envelope": Strategy(
        ("NE", "NE_membrane", "nuclear_pore", "nuclear_pore_out"), "37", "38"),
    "few/chromatin": Strategy(("chromatin", "NHChrom", "EChrom", "NEChrom"), "39.1", "40"),
    "few/centrosome": Strategy(("centrosome", "distal_app", "subdistal_app"), "41", "42"),
    "few/eres": Strategy(("ERES", "ERES_membrane"), "43", "44"),
    "few/surface": Strategy(("ecs", "plasma_membrane"), "45", "46"),
    "few/endolysosomes": Strategy(
        ("MVB", "MVB_membrane", "lysosome", "lysosome_membrane"), "47", "48"),
    "few/vesicle": Strategy(("vesicle", "vesicle_membrane"), "49.1", "50"),
    "few/droplets": Strategy(("LD", "LD_membrane"), "51", "52"),
})  # fmt: skip


def classes_of(names: str | tuple[str, ...]) -> tuple[str, ...]:
    """Return the classes of a strategy by its name, or the classes themselves in their order.

    Raises
    ------
    WrongUse
        If a name is unknown, or a class occurs twice.
    """
    if isinstance(names, str):
        if names not in STRATEGIES:
            raise WrongUse(f"strategy {echo(names)}: expected one of {', '.join(STRATEGIES)}")
        return STRATEGIES[names].classes
    if unknown := [name for name in names if name not in SUPER]:
        raise WrongUse(f"class {echo(unknown[0])}: expected some of {', '.join(SUPER)}")
    if len(set(names)) != len(names):
        raise WrongUse(f"classes {listed(names)}: one occurs twice")
    return names
