"""The gRPC servicer of inference: the networks, and predictions of small volumes."""

import logging
import threading
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

import grpc

from fibstream.bus import wire
from fibstream.core.echo import echo, listed
from fibstream.core.errors import LimitExceeded, NotFound, WrongState, WrongUse
from fibstream.runtime.calls import check_active, held
from fibstream.runtime.root import Root
from fibstream.runtime.settings import Settings
from fibstream.services.inference.edges.model import MODELS, MODELS_FOLDER, read_model, released
from fibstream.v1 import chunk_pb2
from fibstream.v1 import inference_pb2 as pb
from fibstream.v1.inference_pb2_grpc import InferenceServiceServicer

from .backend import AUTO, MODEL, Wanted
from .port import Engine, ModelSpec, check_one_grid
from .volume import Interruptible, VolumeSpec, check, predict_volume

log = logging.getLogger(__name__)

MAX_PIECE = 4 << 20  # bytes: above that gRPC loses its speed
PIECE = 2 << 20  # bytes of an answer's pieces: between 1 and 4 MB gRPC is fastest
MAX_HELD = 4  # volumes in memory: one is computed, the others wait
MAX_ENGINES = 2  # in memory: one holds some hundred MB
MAX_MODELS = 64  # of a folder: every one of them is read, and run once, to be listed


class InferenceServicer(InferenceServiceServicer):
    """Answers with the released networks and those in the folder ``models`` of the root."""

    def __init__(self, root: Root, settings: Settings) -> None:
        self._settings = settings
        self._models = Models(root, settings)
        self._held = threading.BoundedSemaphore(MAX_HELD)
        self._computing = threading.BoundedSemaphore(1)

    def ListModels(
        self, request: pb.ListModelsRequest, context: grpc.ServicerContext
    ) -> pb.ListModelsResponse:
        """Describe every network; one that was never run is run on noise, which takes seconds."""
        listed = []
        for name, spec in self._models.all().items():
            profile = self._models.profiles.get(spec.sha256)
            if profile is None:
                with held(self._computing, context):
                    profile = dict(self._models.engine(name, spec).profile)
            listed.append(_model(spec, profile))
        return pb.ListModelsResponse(models=listed)

    def DescribeModel(
        self, request: pb.DescribeModelRequest, context: grpc.ServicerContext
    ) -> pb.DescribeModelResponse:
        """Describe one network as it is computed here; it is run once, which takes seconds."""
        spec = self._models.find(request.model)
        own = self._settings
        wanted = Wanted(
            _chosen(request.backend, AUTO, own.backend),
            _chosen(request.precision, AUTO, own.precision),
            _chosen(request.tile, MODEL, own.tile), own.tile_memory_gb,
        )  # fmt: skip
        with held(self._computing, context):
            made = self._models.made(request.model, spec, wanted)
        return pb.DescribeModelResponse(model=_model(made.spec, dict(made.profile)))

    def Predict(
        self, request_iterator: Iterator[pb.PredictRequest], context: grpc.ServicerContext
    ) -> Iterator[pb.PredictResponse]:
        """Predict one small volume."""
        header = _header(request_iterator)
        spec = self._models.find(header.model)
        volume = _volume(header)
        window = check(volume, spec)
        with held(self._held, context):
            data = _collect(request_iterator, volume.size)
            with held(self._computing, context):
                engine = Interruptible(
                    self._models.engine(header.model, spec), lambda: check_active(context)
                )
                found = predict_volume(data, volume, window, engine)
            first = pb.PredictionHeader(classes=spec.classes, shape=header.shape)
            yield pb.PredictResponse(header=first)
            answer = found.tobytes()
            for start in range(0, len(answer), PIECE):
                yield pb.PredictResponse(piece=answer[start : start + PIECE])


class Models:
    """The networks that a client may name, and engines of those last used."""

    def __init__(self, root: Root, settings: Settings) -> None:
        self._root = root
        self._settings = settings
        self._wanted = Wanted(settings.backend, settings.precision)
        self._specs: dict[tuple[Path, int, int], ModelSpec] = {}
        self._engines: OrderedDict[str, Engine] = OrderedDict()  # by digest, last used last
        self.profiles: dict[str, dict[str, str]] = {}  # by digest

    def all(self) -> dict[str, ModelSpec]:
        """Return every network by name; other files are left out, with a warning in the log."""
        folders = [self._root.local / MODELS_FOLDER] if self._root.local else []
        found: dict[str, ModelSpec] = {}
        for folder in (*folders, MODELS):
            for path in sorted(folder.glob("*.onnx"))[:MAX_MODELS]:
                if self._path(path.stem) == path:  # not hidden by another, and it can be named
                    try:
                        found[path.stem] = self._read(path)
                    except WrongUse as error:
                        log.warning("%s", error)
        return dict(sorted(found.items()))

    def find(self, name: str) -> ModelSpec:
        """Return one network; raise NotFound with the names of all."""
        path = self._path(name)
        if path is None:
            known = listed(self.all())
            raise NotFound(f"model {echo(name)}: not found; expected one of {known}")
        return self._read(path)

    def engine(self, name: str, spec: ModelSpec) -> Engine:
        """Return a network ready to run; one thread at a time may call this, and run it."""
        if spec.sha256 not in self._engines:
            while len(self._engines) >= MAX_ENGINES:
                self._engines.popitem(last=False)
            made = self.made(name, spec, self._wanted)
            self._engines[spec.sha256] = made
            self.profiles[spec.sha256] = dict(made.profile)
        self._engines.move_to_end(spec.sha256)
        return self._engines[spec.sha256]

    def made(self, name: str, spec: ModelSpec, wanted: Wanted) -> Engine:
        """Return a network that was loaded and checked as it is wanted; it is not kept."""
        from fibstream.services.inference.edges.engine import make_engine

        path = self._path(name)
        if path is None:
            raise NotFound(f"model {echo(name)}: its file is gone")
        made = make_engine(path, self._settings.threads, wanted)
        if made.spec.sha256 != spec.sha256:
            raise WrongState(f"model {name}: its file was replaced just now; ask again")
        return made

    def _path(self, name: str) -> Path | None:
        """Return the file of a network that a client may name."""
        try:
            return released(name, self._root)
        except WrongUse:
            return None

    def _read(self, path: Path) -> ModelSpec:
        state = path.stat()
        key = path, state.st_mtime_ns, state.st_size
        if key not in self._specs:
            self._specs = {k: s for k, s in self._specs.items() if k[0] != path}
            self._specs[key] = read_model(path)
        check_one_grid(self._specs[key])
        return self._specs[key]


def _chosen(asked: str, default: str, own: str) -> str:
    """Return what is asked for by name, else what this service is set to."""
    return asked if asked not in ("", default) else own


def _header(requests: Iterator[pb.PredictRequest]) -> pb.PredictHeader:
    first = next(requests, None)
    if first is None or first.WhichOneof("part") != "header":
        raise WrongUse("the first message of Predict: expected a header")
    return first.header


def _volume(header: pb.PredictHeader) -> VolumeSpec:
    size = header.voxel_size_nm
    window = header.contrast_low, header.contrast_high
    return VolumeSpec(
        wire.index_of(header.shape), header.dtype, (size.z, size.y, size.x),
        window if any(window) else None, header.invert,
    )  # fmt: skip


def _collect(requests: Iterator[pb.PredictRequest], size: int) -> bytearray:
    """Return the bytes of all pieces; raise WrongUse unless they are ``size`` in all."""
    whole = bytearray()
    for request in requests:
        if request.WhichOneof("part") != "piece":
            raise WrongUse("Predict: expected pieces of voxels after the header")
        if len(request.piece) > MAX_PIECE:
            raise LimitExceeded(f"a piece of {len(request.piece)} bytes: at most {MAX_PIECE}")
        if len(whole) + len(request.piece) > size:
            raise WrongUse(f"pieces: more than the {size} bytes that the header promised")
        whole += request.piece
    if len(whole) != size:
        raise WrongUse(f"pieces: {len(whole)} bytes, and the header promised {size}")
    return whole


def _model(spec: ModelSpec, profile: dict[str, str]) -> pb.Model:
    z, y, x = spec.voxel_size_nm
    return pb.Model(
        name=spec.name, classes=spec.classes,
        voxel_size_nm=chunk_pb2.Nanometres3(z=z, y=y, x=x), tile=wire.index3(spec.tile),
        output=wire.index3(spec.output), sha256=spec.sha256, profile=profile,
    )  # fmt: skip
