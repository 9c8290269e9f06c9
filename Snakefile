# PorePatch: from photographs of faces to a pore-scale patch dataset, a descriptor and its numbers.
# One stage, one name: rules/<stage>.smk, workflow/scripts/<verb>.py, porepatch_lib/<stage>/.
from snakemake.utils import min_version

min_version("9.27")


configfile: "config/config.yaml"


report: "workflow/report/workflow.rst"


include: "rules/common.smk"
include: "rules/resources.smk"
include: "rules/captures.smk"
include: "rules/keypoints.smk"
include: "rules/descriptors.smk"
include: "rules/matching.smk"
include: "rules/sfm.smk"
include: "rules/patches.smk"
include: "rules/training.smk"
include: "rules/imports.smk"
include: "rules/verification.smk"
include: "rules/evaluation.smk"
include: "rules/reconstruction_common.smk"
include: "rules/features.smk"
include: "rules/reconstruction.smk"
include: "rules/benchmark.smk"
include: "rules/reporting.smk"
include: "rules/status_common.smk"
include: "rules/status.smk"


localrules:
    all,
    captures,
    dataset,
    models,
    reconstructions,


# The captured subjects alone: look at them before the long run.
rule captures:
    input:
        expand("<results>/captures/{subject}/contact_sheet.png", subject=SUBJECTS.index),


# The reconstruction subjects, with every descriptor and variant: the ETH table and a picture of every cloud.
rule reconstructions:
    input:
        rules.reconstruction_table.output if RECONSTRUCTED else [],
        reconstruction_files("clouds.png"),


# Everything the config asks for, ending in the table.
rule all:
    default_target: True
    input:
        "<results>/report/summary.md",
        rules.captures.input,
        rules.verification_table.output,
        verification_files("_worst.png"),
        rules.reconstructions.input,


# The patch datasets of every round with their cards; what may be released of the last round and of the test sets, in UBC PhotoTour
# layout.
rule dataset:
    input:
        expand(
            "<results>/round{r}/dataset/{split}/{file}",
            r=ROUNDS,
            split=DATASET_SPLITS,
            file=["pairs.parquet", "card.json"],
        ),
        expand(
            "<results>/round{r}/phototour/{split}",
            r=ROUNDS[-1:],
            split=EXPORTED_SPLITS,
        ),
        expand(
            "<results>/imported/dataset/{part}/pairs.parquet",
            part=["train", "validation"] if patch_sets_of("train") else [],
        ),
        expand(
            "<results>/verification/{t}/phototour",
            t=[t for t in CAPTURED_TEST_SETS if shown_in(t)],
        ),


# The descriptor trained in every round, and the one trained on imported patches.
rule models:
    input:
        [network_file(name) for name in NETWORKS],


onstart:
    require_results()


# A run that wrote a new table shows it.
onsuccess:
    if Path(SUMMARY).is_file() and Path(SUMMARY).stat().st_mtime > BEGAN:
        shell("cat {SUMMARY}")
