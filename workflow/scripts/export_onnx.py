"""Rule `export_onnx`: write a trained network as ONNX."""

from porepatch_lib.descriptors.onnx_export import export_onnx
from porepatch_lib.stage import stage

with stage(snakemake):
    export_onnx(
        weights=snakemake.input.weights,
        output=snakemake.output.onnx,
        networks=snakemake.params.networks,
    )
