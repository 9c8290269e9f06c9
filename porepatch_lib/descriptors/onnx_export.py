"""A trained network as an ONNX file, for programs without PyTorch."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from porepatch_lib.descriptors.networks import architecture_of, load_network
from porepatch_lib.errors import PorePatchError
from porepatch_lib.files import atomic_path, read_json

if TYPE_CHECKING:
    from onnx import ModelProto

    from porepatch_lib.descriptors.network import DescriptorNetwork

INPUT = "patches"
OUTPUT = "descriptors"

_OPSET = 18  # of 2022: what programs of the last years read
_EXAMPLES = 2  # patches the exporter traces with; the number of patches stays free

_LOG = logging.getLogger(__name__)


def export_onnx(
    weights: str | Path, output: str | Path, networks: Mapping[str, str] | None = None, architecture: str | None = None
) -> None:
    """Write the network in `weights` (safetensors that name their architecture, or are of `architecture`) as one ONNX file.

    It is in evaluation mode: input `patches` float32 (N,1,S,S), grey values 0..255, S = 32 or 64 and N free; output `descriptors`
    float32 (N,D). The file's metadata say architecture, patch_side, dimension, normalisation, and the crop_factor where the model
    card (JSON) lies beside the weights. `networks` gives third-party architectures, name -> "package.module:Class".

    Raises:
        PorePatchError: if the weights cannot be loaded, the card cannot be read, or the network cannot be exported.
    """
    network = load_network(weights, networks, architecture)
    facts: dict[str, Any] = {"architecture": architecture_of(weights, architecture), "patch_side": network.patch_side}
    facts |= {"dimension": network.dimension, "normalisation": network.normalisation} | _facts_of_card(Path(weights))
    model = _exported(network, str(weights))
    _keep_only(model, {name: str(value) for name, value in facts.items()})
    import onnx

    onnx.checker.check_model(model, full_check=True)
    with atomic_path(output) as temporary:
        onnx.save_model(model, temporary)
    _LOG.info("exported %s to %s (opset %d, %d nodes)", weights, output, _OPSET, len(model.graph.node))


def _facts_of_card(weights: Path) -> dict[str, Any]:
    """Return the crop factor that the model card beside the weights gives, if there is one and it is known (not 0)."""
    card = weights.with_suffix(".json")
    if not card.is_file():
        return {}
    try:
        factor = float(read_json(card)["crop_factor"])
    except (ValueError, KeyError, TypeError) as error:
        raise PorePatchError(
            f"The model card {card} gives no crop_factor; train the network again or take the card away."
        ) from error
    return {"crop_factor": factor} if factor else {}


def _exported(network: DescriptorNetwork, name: str) -> ModelProto:
    """Return the network as a model whose number of patches is free."""
    import torch

    batch = torch.zeros(_EXAMPLES, 1, network.patch_side, network.patch_side)
    try:
        with _quiet(), torch.inference_mode(False), torch.no_grad():
            program = torch.onnx.export(
                network,
                (batch,),
                input_names=[INPUT],
                output_names=[OUTPUT],
                opset_version=_OPSET,
                dynamic_shapes=({0: torch.export.Dim("count", min=1)},),
                dynamo=True,
                verbose=False,
            )
    except Exception as error:
        reason = str(error.__cause__ or error).partition("\n")[0]  # the exporter wraps what went wrong in advice
        raise PorePatchError(
            f"The network in {name} cannot be exported to ONNX ({reason}); in Python, its features may branch neither on pixels "
            "nor on the number of patches."
        ) from error
    assert program is not None
    model: ModelProto = program.model_proto
    return model


def _keep_only(model: ModelProto, facts: Mapping[str, str]) -> None:
    """Replace the exporter's notes, among them paths of this machine, by `facts`; call the free dimension N."""
    graph = model.graph
    del graph.value_info[:]
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]
        part.ClearField("doc_string")
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    for key, value in facts.items():
        model.metadata_props.add(key=key, value=value)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's remarks about itself (absent torchvision, deprecated internals) from users."""
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
