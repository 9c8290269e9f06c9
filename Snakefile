# PorePatch: from photographs of faces to a pore-scale patch dataset, a descriptor and its numbers.
# One stage, one name: rules/<stage>.smk, workflow/scripts/<verb>.py, porepatch_lib/<stage>/.
from snakemake.utils import min_version

min_version("9.27")


configfile: "config/config.yaml"


report: "workflow/report/workflow.rst"


include: "rules/common.smk"
include: "rules/captures.smk"
include: "rules/keypoints.smk"
include: "rules/descriptors.smk"
include: "rules/matching.smk"
include: "rules/sfm.smk"
include: "rules/patches.smk"
include: "rules/training.smk"
include: "rules/evaluation.smk"
include: "rules/reporting.smk"


localrules:
    all,
    captures,
    dataset,
    models,


# Everything the config asks for, ending in the table.
rule all:
    default_target: True
    input:
        "<results>/report/summary.md",


# The captured subjects alone: look at them before the long run.
rule captures:
    input:
        expand("<results>/captures/{subject}/images.parquet", subject=SUBJECTS.index),


# The patch datasets of every round, in UBC PhotoTour layout too.
rule dataset:
    input:
        expand(
            "<results>/round{r}/dataset/{split}/pairs.parquet",
            r=ROUNDS,
            split=DATASET_SPLITS,
        ),
        expand(
            "<results>/round{r}/phototour/{split}", r=ROUNDS[-1:], split=DATASET_SPLITS
        ),


# The descriptor trained in every round.
rule models:
    input:
        expand(
            "<results>/round{r}/model/{a}.safetensors",
            r=TRAINED_ROUNDS,
            a=ARCHITECTURE,
        ),


onsuccess:
    shell("cat {SUMMARY} 2> /dev/null || true")
