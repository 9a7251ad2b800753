"""Which array of a hierarchy is selected when a group is named."""

from typing import Literal

from fibstream.core.errors import WrongUse

from .axes import finest_level, multiscales
from .hierarchy import Hierarchy, Node

Kind = Literal["raw", "prediction", "labels", "any"]
DEPTH = 8  # of nested groups that are searched; OpenOrganelle has five
PREDICTED = "_pred"  # ends the names of OpenOrganelle's predictions, which lie among its labels


def select_array(hierarchy: Hierarchy, node: Node, name: str, kind: Kind) -> Node:
    """Return the array that a node selects.

    An array selects itself, a multiscale group its finest level, and another group (a dataset of
    fibstream, of OpenOrganelle or of bioformats2raw, or any nesting) the only array or image of the
    wanted kind in it.

    Raises
    ------
    WrongUse
        If none or several of that kind are there; the message calls the node ``name``.
    """
    root, left = node, DEPTH
    while not node.is_array:
        if left == 0:
            raise WrongUse(f"{name} nests more than {DEPTH} groups; give STORE#GROUP/ARRAY")
        node, left = _descend(hierarchy, node, root, name, kind), left - 1
    return node


def _descend(hierarchy: Hierarchy, group: Node, root: Node, name: str, kind: Kind) -> Node:
    """Return the node inside a group that is selected, at least one level deeper."""
    # The labels of an image lie inside its group: for labels the image is not selected.
    image_of_labels = kind == "labels" and _inside(hierarchy, group, "labels")
    if not image_of_labels and (full := _full_level(hierarchy, group, name)):
        return full
    choices = _candidates(hierarchy, group, kind)
    if len(choices) == 1:
        return choices[0]
    wanted = "array" if kind == "any" else kind
    if not choices:
        raise WrongUse(f"{name} is a group that holds no {wanted}; give STORE#GROUP/ARRAY")
    places = [node.key.relative_to(root.key) for node in choices]
    mark = "/" if "#" in name else "#"
    names = ", ".join(f"{name}{mark}{place}" for place in places)
    raise WrongUse(f"{name} holds more than one {wanted}; give one of {names}")


def candidates_in(hierarchy: Hierarchy, group: Node, name: str) -> list[Node]:
    """Return the arrays and images in a group; none if it is an array or image itself."""
    if group.is_array or _full_level(hierarchy, group, name):
        return []
    return _candidates(hierarchy, group, "any")


def _full_level(hierarchy: Hierarchy, group: Node, name: str) -> Node | None:
    """Return the finest level of a multiscale group; without metadata it is named s0.

    None of a dataset whose image is that of a group inside it, as raw is of a dataset of fibstream:
    it holds other arrays too.
    """
    images = multiscales(group.attributes)[:1]  # OME-NGFF: the first image is the default
    stated = next((finest_level(image) for image in images if image["datasets"]), "")
    level = hierarchy.node(group.key / (stated or "s0"))
    if level is not None and level.key.parent != group.key and _is_image(hierarchy, level):
        return None
    if level is not None and level.is_array:
        return level
    if stated:
        raise WrongUse(f"{name} names the level {stated}, but no array is there")
    return None


def _is_image(hierarchy: Hierarchy, level: Node) -> bool:
    """Whether the group of a level is a multiscale image of its own."""
    above = hierarchy.node(level.key.parent)
    return above is not None and bool(multiscales(above.attributes))


def _candidates(hierarchy: Hierarchy, group: Node, kind: Kind) -> list[Node]:
    """Return the nodes of a kind in a dataset; in another group all that contain an array."""
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
    every = [node for nodes in held.values() for node in nodes] + registered(hierarchy, group)
    if not every:
        return _with_arrays(hierarchy, hierarchy.children(group))
    return every if kind == "any" else held[kind]


def registered(hierarchy: Hierarchy, group: Node) -> list[Node]:
    """Return the light channels of a group that lie on its grid: those with a registration.

    Others, as a phantom has them, are in the frame of the light microscope.
    """
    return [
        node
        for node in _inside(hierarchy, group, "lm")
        if hierarchy.node(group.key / "registration" / node.key.name) is not None
    ]


def _inside(hierarchy: Hierarchy, group: Node, folder: str) -> list[Node]:
    """Return the nodes that contain an array, in a named folder of a group."""
    key = group.key / folder
    node = hierarchy.node(key) or Node(key, "", False, {})
    return [] if node.is_array else _with_arrays(hierarchy, hierarchy.children(node))


def _with_arrays(hierarchy: Hierarchy, nodes: list[Node]) -> list[Node]:
    return [node for node in nodes if _holds_array(hierarchy, node, DEPTH)]


def _holds_array(hierarchy: Hierarchy, node: Node, depth: int) -> bool:
    """Whether a node is an array or contains one, unlike a group of metadata alone."""
    if node.is_array or multiscales(node.attributes):
        return True
    # The children of a group in a bucket may be unknown.
    if not hierarchy.local:
        return bool(node.driver) and node.key.name != "OME"
    children = hierarchy.children(node) if depth else []
    return any(_holds_array(hierarchy, child, depth - 1) for child in children)
