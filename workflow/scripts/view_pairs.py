"""Rule `view_pairs`: pair the views of one subject."""

from porepatch_lib.matching.pairs import write_view_pairs
from porepatch_lib.stage import stage

with stage(snakemake):
    write_view_pairs(images=snakemake.input.images, output=snakemake.output.pairs)
