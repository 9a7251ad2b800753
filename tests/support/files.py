"""What a store's files hold."""

from fibstream.core.ports import Files


def content(files: Files, path: str) -> bytes:
    """Return the bytes of a file, which must be there."""
    handle = files.open(path)
    assert handle is not None
    return handle.read(0, handle.size)
