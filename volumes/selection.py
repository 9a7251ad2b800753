"""Which array of a hierarchy is meant when a group is named."""

from typing import Literal

from fibstream.core.errors import WrongUse

from .axes import level_path, multiscales
from .nodes import Hierarchy, Node

Kind = Literal["raw", "prediction", "labels", "any"]
DEPTH = 8  # groups inside groups that are gone through; OpenOrganelle has five
PREDICTED = "_pred"  # ends the names of OpenOrganelle's predictions, which lie among its labels


def array_meant(hierarchy: Hierarchy, node: Node, name: str, kind: Kind) -> Node:
    """Return the array that is meant by a node.

    An array means itself, a multiscale group its first level, and another group (a dataset of
    fibstream, of OpenOrganelle or of bioformats2raw, or any nesting) the only thing of the wanted
    kind in it.

    Raises
    ------
    WrongUse
        If nothing, or more than one thing, of that kind is there; ``name`` is how it is called.
    """
    root, left = node, DEPTH
    while not node.is_array:
        if left == 0:
            raise WrongUse(f"{name} nests more than {DEPTH} groups; give STORE#GROUP/ARRAY")
        node, left = _step(hierarchy, node, root, name, kind), left - 1
    return node


def _step(hierarchy: Hierarchy, group: Node, root: Node, name: str, kind: Kind) -> Node:
    """Return the node inside a group that is meant, one step or more nearer to an array."""
    # The labels of an image lie inside its group: whoever wants labels does not mean the image.
    image_of_labels = kind == "labels" and _inside(hierarchy, group, "labels")
    if not image_of_labels and (full := _full_level(hierarchy, group, name)):
        return full
    choices = _things(hierarchy, group, kind)
    if len(choices) == 1:
        return choices[0]
    wanted = "array" if kind == "any" else kind
    if not choices:
        raise WrongUse(f"{name} is a group that holds no {wanted}; give STORE#GROUP/ARRAY")
    places = [node.key.relative_to(root.key) for node in choices]
    mark = "/" if "#" in name else "#"
    names = ", ".join(f"{name}{mark}{place}" for place in places)
    raise WrongUse(f"{name} holds more than one {wanted}; give one of {names}")


def things_in(hierarchy: Hierarchy, group: Node, name: str) -> list[Node]:
    """Return what a group holds, as messages would list it; nothing if the group itself is one."""
    if group.is_array or _full_level(hierarchy, group, name):
        return []
    return _things(hierarchy, group, "any")


def _full_level(hierarchy: Hierarchy, group: Node, name: str) -> Node | None:
    """Return the first level of a multiscale group; without metadata it is called s0."""
    images = multiscales(group.attributes)[:1]  # OME-NGFF: the first image is the default
    stated = [level_path(level) for image in images for level in image["datasets"]]
    level = hierarchy.node(group.key / (stated or ["s0"])[0])
    if level is not None and level.is_array:
        return level
    if stated:
        raise WrongUse(f"{name} names the level {stated[0]}, but no array is there")
    return None


def _things(hierarchy: Hierarchy, group: Node, kind: Kind) -> list[Node]:
    """Return what of the wanted kind a dataset holds; of another group all that it holds."""
    raw = hierarchy.node(group.key / "raw")
    labels = _inside(hierarchy, group, "labels")
    predictions = _inside(hierarchy, group, "predictions")
    if not predictions:
        predictions = [node for node in labels if node.key.name.endswith(PREDICTED)]
        labels = [node for node in labels if node not in predictions]
    held = {
        "raw": [raw] if raw else _inside(hierarchy, group, "em"),
        "prediction": predictions,
        "labels": labels,
    }
    every = [node for nodes in held.values() for node in nodes]
    if not every:
        return _holding(hierarchy, hierarchy.children(group))
    return every if kind == "any" else held[kind]


def _inside(hierarchy: Hierarchy, group: Node, folder: str) -> list[Node]:
    """Return what lies in a group of a group and holds an array."""
    key = group.key / folder
    node = hierarchy.node(key) or Node(key, "", False, {})
    return [] if node.is_array else _holding(hierarchy, hierarchy.children(node))


def _holding(hierarchy: Hierarchy, nodes: list[Node]) -> list[Node]:
    return [node for node in nodes if _holds_array(hierarchy, node, DEPTH)]


def _holds_array(hierarchy: Hierarchy, node: Node, depth: int) -> bool:
    """Whether a node is an array, or has one in it: groups of metadata alone are passed over."""
    if node.is_array or multiscales(node.attributes):
        return True
    # What lies in a group of a bucket may not be known.
    if not hierarchy.local:
        return bool(node.driver) and node.key.name != "OME"
    children = hierarchy.children(node) if depth else []
    return any(_holds_array(hierarchy, child, depth - 1) for child in children)
