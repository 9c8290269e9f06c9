"""Rule `matching_score`: match the photographs of one rendered subject by one descriptor, judged by truth."""

from pathlib import Path

from porepatch_lib.stage import stage
from porepatch_lib.verification.matching_score import MatchingScoreSettings, write_matching_score

with stage(snakemake) as running:
    running.device = write_matching_score(
        subject=snakemake.wildcards.subject,
        images=Path(snakemake.input.images),
        keypoints=Path(snakemake.input.keypoints),
        truth_folder=Path(snakemake.input.truth),
        descriptor=snakemake.wildcards.descriptor,
        weights=Path(snakemake.input.weights) if snakemake.input.weights else None,
        output=Path(snakemake.output.report),
        settings=MatchingScoreSettings(**snakemake.params.settings),
        crop_factor=snakemake.params.crop_factor,
        seed=snakemake.params.seed,
        threads=snakemake.threads,
        networks=snakemake.params.networks,
        architecture=snakemake.params.architecture,
    )
