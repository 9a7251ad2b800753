"""OME-XML in TIFF: the files and planes that it names, and the voxel size.

tifffile takes planes that are not there for zeros, and opens whatever files the XML names.
"""

from pathlib import Path
from xml.etree import ElementTree

from fibstream.core.echo import echo
from fibstream.store.gate import FREE, Gate

from .formats import Unreadable
from .lengths import Stated, statement

SHOWN = 3  # names of files in a message


def check_ome(path: Path, xml: str | None, pages: int, gate: Gate = FREE) -> None:
    """Raise Unreadable where OME-XML names files or planes that are not there.

    ``pages`` is the number of pages of the file itself.
    """
    root = _root(xml)
    if root is None:
        return
    others = _other_files(root, path.name)
    if outside := [name for name in others if {"/", "\\"} & {*name} or name in ("", ".", "..")]:
        raise Unreadable(f"its OME-XML names a file that is not in its folder: {echo(outside[0])}")
    if missing := [name for name in others if not (path.parent / name).is_file()]:
        more = f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
        raise Unreadable(
            f"its OME-XML names {len(others) + 1} files, but {', '.join(missing[:SHOWN])}{more} "
            f"{'is' if len(missing) == 1 else 'are'} not in its folder"
        )
    for name in others:
        gate.check(path.parent / name)
    planes = sum(_planes(pixels) for pixels in root.iterfind(".//{*}Pixels"))
    if not others and planes > pages:
        raise Unreadable(f"its OME-XML names {planes} planes, but it holds {pages}")


def _root(xml: str | None) -> ElementTree.Element | None:
    if not xml:
        return None
    try:
        return ElementTree.fromstring(xml)
    except ElementTree.ParseError as error:
        raise Unreadable("its OME-XML is damaged") from error


def _other_files(root: ElementTree.Element, own: str) -> list[str]:
    """Return the names of further files; the file itself may have been renamed."""
    uuid = root.get("UUID")
    found: dict[str, None] = {}
    for element in root.iterfind(".//{*}TiffData/{*}UUID"):
        name = element.get("FileName", "")
        is_own = element.text == uuid if uuid else name.lower() in ("", own.lower())
        if not is_own:
            found[name] = None
    return list(found)


def _planes(pixels: ElementTree.Element) -> int:
    """Return the number of pages that an image takes."""
    channel = pixels.find("{*}Channel")
    samples = 1 if channel is None else _number(channel.get("SamplesPerPixel", "1"))
    z, c, t = (_number(pixels.get(f"Size{axis}", "1")) for axis in "ZCT")
    counts = [_number(data.get("PlaneCount", "0")) for data in pixels.iterfind("{*}TiffData")]
    return max(z * t * max(1, c // samples), *counts, 1)


def _number(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 9:
        raise Unreadable(f"its OME-XML holds {echo(text, 20)} where a number is expected")
    return int(text)


def ome_statement(xml: str | None) -> Stated | None:
    """Return the voxel size in OME-XML, if a file has any."""
    root = _root(xml)
    if root is None:
        return None
    pixels = root.find(".//{*}Pixels")
    stated = {} if pixels is None else pixels.attrib
    sizes = [stated.get(f"PhysicalSize{axis}") for axis in "ZYX"]
    if None in sizes:
        missing = ", ".join(f"PhysicalSize{a}" for a, s in zip("ZYX", sizes, strict=True) if not s)
        return Stated("OME-XML", None, f"it has no {missing}")
    # Micrometres are the default of the schema.
    units = [stated.get(f"PhysicalSize{axis}Unit", "um") for axis in "ZYX"]
    return statement("OME-XML", sizes, units)
