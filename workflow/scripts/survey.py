"""Rule `survey`: a contact sheet of one subject's captures, and warnings before the long run."""

from porepatch_lib.captures.survey import SurveySettings, survey_subject
from porepatch_lib.stage import stage

with stage(snakemake):
    survey_subject(
        subject=snakemake.wildcards.subject,
        images=snakemake.input.images,
        keypoints=snakemake.input.keypoints,
        quality_output=snakemake.output.quality,
        sheet_output=snakemake.output.sheet,
        settings=SurveySettings(**snakemake.params.settings),
        threads=snakemake.threads,
    )
