"""The command that chooses by scores: networks of a store, or the settings of a recipe."""

from pathlib import Path
from typing import Annotated

import typer

from fibstream.core.errors import WrongUse

from ..app import FAILED, command, fail, voxel_size
from ..options import Chunk, Voxel

Chosen = Annotated[
    Path, typer.Option(metavar="FILE.csv|.yaml", help="The choices, with --refine a pipeline.")
]
Store = Annotated[Path | None, typer.Option(metavar="FILE.parquet", help="Of evaluate --store.")]
Labels = Annotated[list[str] | None, typer.Option(help="A class; default: all.")]
Metrics = Annotated[
    list[str] | None,
    typer.Option(help="Chosen by: dice, mean_false_distance; with --refine f1, else pq."),
]
Manual = Annotated[
    Path | None, typer.Option(metavar="FILE.csv", help="Choices made by hand, to compare.")
]
Groups = Annotated[
    list[str] | None, typer.Option(metavar="NAME=SETUP,..", help="Setups to compare.")
]
Dilation = Annotated[
    float | None, typer.Option(help="Of truths that were dilated by several lengths, which.")
]
Plots = Annotated[Path | None, typer.Option(metavar="DIR", help="Where plots go.")]
First = Annotated[int, typer.Option(help="Iterations until training may stop.")]
Nothing = Annotated[int, typer.Option(help="Where it stops if nothing was above the threshold.")]
Cap = Annotated[int, typer.Option(help="Iterations that count at most.")]
Refine = Annotated[
    bool, typer.Option("--refine", help="Choose settings of a recipe, by the flags below.")
]
Refined = Annotated[
    list[str] | None, typer.Option(metavar="CLASS=PATH", help="What is refined, once a crop.")
]
Truth = Annotated[
    list[str] | None,
    typer.Option(metavar="PATH", help="Labels with an id for each object, once a crop."),
]
Organelle = Annotated[
    str | None, typer.Option(metavar="NAME", help="The recipe; default: mito-hela-2.")
]
Tried = Annotated[
    list[str] | None,
    typer.Option(metavar="KEY=VALUE,..", help="Values to try; default: those of the recipe."),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="A parameter that all combinations have."),
]
RECIPE = "mito-hela-2"  # as published but for what is chosen


@command
def select(
    out: Chosen, store: Store = None, label: Labels = None, metric: Metrics = None,
    manual: Manual = None, group: Groups = None, dilate_nm: Dilation = None, plots: Plots = None,
    first: First = 700_000, nothing: Nothing = 500_000, cap: Cap = 2_000_000,
    refine: Refine = False, prediction: Refined = None, truth: Truth = None,
    organelle: Organelle = None, grid: Tried = None, set_: Set = None,
    voxel_size_nm: Voxel = None, chunk: Chunk = None,
) -> None:  # fmt: skip
    """Choose setup and iteration for each class: on the crop itself, and leaving it out.

    With --refine: the settings of a recipe whose objects agree best with the truth.

    Example: fibstream select --store scores.parquet --label mito --out choices.csv
    """
    from ..outputs import check_file

    of_store = {
        "--store": store, "--label": label, "--manual": manual, "--group": group,
        "--dilate-nm": dilate_nm, "--plots": plots,
    }  # fmt: skip
    of_recipe = {
        "--prediction": prediction, "--truth": truth, "--organelle": organelle, "--grid": grid,
        "--set": set_, "--voxel-size-nm": voxel_size_nm, "--chunk": chunk,
    }  # fmt: skip
    wrong = [flag for flag, value in (of_store if refine else of_recipe).items() if value]
    if wrong:
        raise WrongUse(f"{wrong[0]}: is {'not for' if refine else 'for'} select --refine")
    read = [each.partition("=")[2] for each in prediction or []]
    check_file(out, inputs=[store, manual, *read, *(truth or [])])
    if not refine:
        if store is None:
            raise WrongUse("select: give --store FILE.parquet, or --refine and its flags")
        rule = first, nothing, cap
        _choose_networks(store, out, label, metric, rule, manual, group, dilate_nm, plots)
        return
    if not prediction or not truth:
        raise WrongUse("select --refine: give --prediction CLASS=PATH and --truth PATH")
    if out.suffix not in (".yaml", ".yml"):
        raise WrongUse(f"--out {out}: with --refine expected FILE.yaml, a pipeline")
    if metric and len(metric) > 1:
        raise WrongUse(f"--metric {metric[1]}: with --refine expected one")
    from ..choosing import choose, pipeline_text, table
    from ..outputs import write_file

    choice = choose(
        prediction, truth, organelle or RECIPE, grid=grid or [], overrides=set_ or [],
        metric=(metric or ["f1"])[0], voxel_size_nm=voxel_size(voxel_size_nm), chunk=chunk,
    )  # fmt: skip
    typer.echo("\n".join(table(choice)))
    if not choice.tried[choice.chosen].scores[choice.metric]:
        named = ", ".join(truth)
        fail(f"no combination agrees with any object of {named}: nothing is chosen", FAILED)
    write_file(out, pipeline_text(choice).encode())
    typer.echo(str(out))


def _choose_networks(
    store: Path, out: Path, label: list[str] | None, metric: list[str] | None,
    rule: tuple[int, int, int], manual: Path | None, group: list[str] | None,
    dilate_nm: float | None, plots: Path | None,
) -> None:  # fmt: skip
    """Write the networks that are chosen by an evaluation store."""
    from fibstream.app.evaluation.selection import DICE, DISTANCE, StopRule

    from ..outputs import write_file
    from ..selecting import draw, selections, table, untested

    found = selections(
        store, label or [], metric or [DICE, DISTANCE], StopRule(*rule), manual=manual,
        groups=group or [], dilate_nm=dilate_nm,
    )  # fmt: skip
    write_file(out, table(found))
    typer.echo(f"{out}: {sum(map(len, found.values()))} choices")
    for name in untested(found):
        typer.echo(f"note: {name} has one crop: chosen on it alone, no test", err=True)
    for path in draw(found, store, plots) if plots else []:
        typer.echo(str(path))
