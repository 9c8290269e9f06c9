"""The command line: `python -m porepatch_lib new-project`, `... export-onnx` and `... explain`."""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from porepatch_lib.errors import PorePatchError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; returns the exit code. A PorePatchError is printed as its sentence."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="Note: %(message)s", stream=sys.stderr)
    try:
        options.run(options)
    except PorePatchError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m porepatch_lib", description="PorePatch beside its Snakemake workflow.")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_new_project(commands)
    _add_export_onnx(commands)
    _add_explain(commands)
    return parser


def _add_new_project(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "new-project",
        help="write a subject sheet and a configuration from folders of photographs",
        description="Write DIR/subjects.tsv and DIR/config.yaml from folders of photographs, and say what to run next. Masks "
        "(a folder p01-masks beside p01, or masks beside images) and known cameras in or beside the photographs are found.",
    )
    command.add_argument("folder", metavar="DIR", help="folder of the project; made if it is not there")
    command.add_argument(
        "--images",
        metavar="DIR",
        nargs="+",
        required=True,
        help="a folder of one person's photographs, a folder of such folders, or NeRSemble participants",
    )
    command.add_argument("--names", action="store_true", help="call the subjects as their folders, not s001, s002, ...")
    command.set_defaults(run=_new_project)


def _new_project(options: argparse.Namespace) -> None:
    from porepatch_lib.captures.project import new_project, next_steps, summary

    project = new_project(options.folder, options.images, options.names)
    print(summary(project), next_steps(project), sep="\n\n")


def _add_export_onnx(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "export-onnx",
        help="write a trained network as an ONNX file",
        description="Write a network as ONNX: input `patches` float32 (N,1,S,S), grey values 0..255, output `descriptors` (N,D). "
        "The model card beside the weights gives the crop factor.",
    )
    command.add_argument("weights", metavar="WEIGHTS", help="safetensors, as train writes them")
    command.add_argument("output", metavar="OUTPUT", help="the .onnx file to write")
    command.add_argument("--architecture", metavar="NAME", help="of weights that name none, such as published ones")
    command.set_defaults(run=_export_onnx)


def _export_onnx(options: argparse.Namespace) -> None:
    from porepatch_lib.descriptors.onnx_export import export_onnx

    export_onnx(options.weights, options.output, architecture=options.architecture)
    print(f"Wrote {options.output}.")


def _add_explain(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "explain",
        help="tell where a file of the results comes from",
        description="Tell which rule made a file, from which inputs (with SHA-256, and whether they changed since), by which "
        "code, settings and seed, on which device, in how many seconds and how much memory.",
    )
    command.add_argument("file", metavar="FILE", type=Path, help="a file or folder below the results of a run")
    command.add_argument("--json", action="store_true", help="print the record itself")
    command.set_defaults(run=_explain)


def _explain(options: argparse.Namespace) -> None:
    from porepatch_lib.provenance.explain import explain, find_record

    if options.json:
        print(json.dumps(dataclasses.asdict(find_record(options.file)[1]), indent=2, sort_keys=True))
    else:
        print(explain(options.file))


if __name__ == "__main__":
    sys.exit(main())
