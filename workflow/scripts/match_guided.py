"""Rule `match_guided`: match the views of one subject once more by their geometry."""

from pathlib import Path

from porepatch_lib.matching.guided import GuidedSettings, match_guided
from porepatch_lib.sfm.settings import SfmSettings
from porepatch_lib.stage import stage

with stage(snakemake):
    match_guided(
        images=Path(snakemake.input.images),
        keypoints=Path(snakemake.input.keypoints),
        descriptors=Path(snakemake.input.descriptors),
        pairs=Path(snakemake.input.pairs),
        matches=Path(snakemake.input.matches),
        output=Path(snakemake.output.matches),
        settings=GuidedSettings(**snakemake.params.settings),
        sfm=SfmSettings(**snakemake.params.sfm),
        seed=snakemake.params.seed,
        model=Path(snakemake.input.model) if snakemake.input.model else None,
        calibration=Path(snakemake.input.calibration) if snakemake.input.calibration else None,
        threads=snakemake.threads,
    )
