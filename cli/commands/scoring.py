"""The command that scores results against the truth."""

import json
from pathlib import Path
from typing import Annotated

import typer

from ..app import command, voxel_size
from ..options import Voxel

TruthAt = Annotated[
    str | None,
    typer.Option(metavar="Z,Y,X", help="Where the truth begins in the test volume."),
]
TruthMask = Annotated[
    str | None, typer.Option(metavar="PATH", help="Where the truth is annotated: not 0.")
]
FineClass = Annotated[
    str | None,
    typer.Option(
        "--class", metavar="NAME", help="The truth holds the 37 fine ids: its inside is this."
    ),
]
Dilation = Annotated[
    float | None,
    typer.Option(help="The truth is drawn this much too thin: ribosomes 8, centrosome 2."),
]


@command
def evaluate(
    truth: Annotated[str, typer.Option(metavar="PATH", help="The truth; not 0 is inside.")],
    test: Annotated[str, typer.Option(metavar="PATH", help="What is scored.")],
    out: Annotated[Path, typer.Option(metavar="FILE.json", help="The scores to write.")],
    threshold: Annotated[
        float | None, typer.Option(help="Test values from here are inside.")
    ] = None,
    instances: Annotated[bool, typer.Option("--instances", help="Match objects too.")] = False,
    truth_at_nm: TruthAt = None,
    voxel_size_nm: Voxel = None,
    mask: TruthMask = None,
    class_: FineClass = None,
    dilate_nm: Dilation = None,
    tolerance_nm: Annotated[float, typer.Option(help="Errors up to here are none.")] = 40.0,
    clip_nm: Annotated[float, typer.Option(help="Farther errors weigh no more.")] = 200.0,
    store: Annotated[
        Path | None, typer.Option(metavar="FILE.parquet", help="Add the metrics to a store.")
    ] = None,
    label: Annotated[str | None, typer.Option(help="For the store: the class.")] = None,
    crop: Annotated[str | None, typer.Option(help="For the store: name of the truth.")] = None,
    setup: Annotated[str | None, typer.Option(help="For the store: the network.")] = None,
    iteration: Annotated[
        int | None, typer.Option(min=0, help="For the store: of its training.")
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="For the store: the specimen.")] = None,
    raw_dataset: Annotated[
        str | None, typer.Option(help="For the store: what was predicted.")
    ] = None,
    parent: Annotated[
        str | None, typer.Option(metavar="PATH", help="For the store: what labels are made of.")
    ] = None,
) -> None:
    """Score a segmentation against the truth, where both lie: Dice, and the paper's 21 metrics.

    Example: fibstream evaluate --truth truth.tif --test labels.zarr --out scores.json
    """
    from fibstream.kernels.metrics import Limits

    from ..evaluating import (
        add_to_store,
        check_dilation,
        check_limits,
        evaluate_volumes,
        facts_of,
        label_of,
        truth_text,
    )
    from ..flags import parse_place
    from ..outputs import check_file, write_file

    check_file(out)
    limits, label = check_limits(Limits(tolerance_nm, clip_nm)), label_of(label, class_, store)
    compared = truth_text(truth, class_, mask)
    facts = facts_of(
        store, truth=compared, path=test, label=label, crop=crop, setup=setup, iteration=iteration,
        dataset=dataset, raw_dataset=raw_dataset, parent_path=parent, threshold=threshold,
    )  # fmt: skip
    dilated = check_dilation(dilate_nm, class_ or label, instances=instances)
    begins_nm = None if truth_at_nm is None else parse_place(truth_at_nm, "--truth-at-nm")
    scores = evaluate_volumes(
        truth, test, threshold=threshold, instances=instances,
        voxel_size_nm=voxel_size(voxel_size_nm), begins_nm=begins_nm, mask=mask, limits=limits,
        fine_class=class_, dilate_nm=dilated,
    )  # fmt: skip
    if store is not None and facts is not None:
        add_to_store(store, facts, scores["metrics"], limits, dilated, compared)
    write_file(out, (json.dumps(scores, indent=2) + "\n").encode())
    typer.echo(", ".join(f"{k} {v:.4f}" for k, v in scores.items() if isinstance(v, float)))
