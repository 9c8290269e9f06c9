# What the rules share: the checked configuration and sheet, and functions that find inputs.
from pathlib import Path

from porepatch_lib.benchmark.settings import benchmark_training
from porepatch_lib.captures.sheet import MADE_MASKS, VARIATIONS, read_subjects, released
from porepatch_lib.config import validate_config
from porepatch_lib.descriptors.networks import check_architecture
from porepatch_lib.errors import PorePatchError
from porepatch_lib.versions import STAGE_VERSIONS

try:
    validate_config(
        config, Path(workflow.basedir) / "workflow/schemas/config.schema.yaml"
    )
    SUBJECTS = read_subjects(config["subjects"]).set_index("subject")
    check_architecture(config["training"]["architecture"], config["networks"])
    BENCHMARK_TRAINING = benchmark_training(config["benchmark"], config["networks"])
except PorePatchError as error:
    raise WorkflowError(str(error)) from None

ROUNDS = list(range(config["rounds"]))
ARCHITECTURE = config["training"]["architecture"]
SUMMARY = f"{config['pathvars']['results']}/report/summary.md"


def subjects_of(split=None, source=None):
    """Subjects of a split and of a source, in the order of the sheet."""
    rows = SUBJECTS
    rows = rows[rows["split"] == split] if split else rows
    rows = rows[rows["source"] == source] if source else rows
    return list(rows.index)


def alternatives(names):
    """A wildcard constraint that matches the given names and nothing else."""
    return "|".join(names) if names else "(?!)"


# Training needs both; a sheet without validation subjects still gives a dataset.
DATASET_SPLITS = [split for split in ("train", "validation") if subjects_of(split)]
AUDITED_SPLITS = [split for split in DATASET_SPLITS if subjects_of(split, "rendered")]
EXPORTED_SPLITS = [
    split
    for split in DATASET_SPLITS
    if any(released(SUBJECTS.loc[subject]) for subject in subjects_of(split))
]
CAN_TRAIN = len(DATASET_SPLITS) == 2
if config["rounds"] > 1 and not CAN_TRAIN:
    missing = " and no ".join(sorted({"train", "validation"} - set(DATASET_SPLITS)))
    raise WorkflowError(
        f"The sheet {config['subjects']} has no {missing} subject, so no network can be trained for a second round: "
        "add one, or set rounds to 1."
    )
TEST_SETS = [
    source
    for source in ("rendered", "photographs", "nersemble")
    if subjects_of("verification", source)
]
SFM_SUBJECTS = (
    subjects_of("train") + subjects_of("validation") + subjects_of("reconstruction")
)
TRAINED_ROUNDS = ROUNDS if CAN_TRAIN else []
NETWORKS = [f"round{r}-{ARCHITECTURE}" for r in TRAINED_ROUNDS]
DETECTORS = ["pore", "psift_reference"]


wildcard_constraints:
    subject=alternatives(list(SUBJECTS.index)),
    split=alternatives(DATASET_SPLITS),
    test_set=alternatives(TEST_SETS),
    architecture=ARCHITECTURE,
    learned=alternatives(list(BENCHMARK_TRAINING)),
    detector=alternatives(DETECTORS),
    r=r"\d+",


def given_masks(wildcards):
    """The mask folder of a subject; none where its masks are made, or where it has none."""
    masks = SUBJECTS.loc[wildcards.subject, "masks"]
    return [] if masks in ("", MADE_MASKS) else masks


def released_card(wildcards):
    """The card that says which subjects of a dataset may be exported; somebody has to be."""
    if wildcards.split not in EXPORTED_SPLITS:
        raise WorkflowError(
            f"Nobody of the {wildcards.split} split may be released, so it is not exported: give it a subject whose release is "
            f"not false in {config['subjects']}."
        )
    return "<results>/round{r}/dataset/{split}/card.json"


def round_weights(wildcards):
    """Round r > 0 describes with the network that round r - 1 trained; round 0 with PSIFT."""
    r = int(wildcards.r)
    return [] if r == 0 else f"<results>/round{r - 1}/model/{ARCHITECTURE}.safetensors"


def initial_weights(wildcards):
    """Training starts from the last round's network where the config says so."""
    return round_weights(wildcards) if config["warm_start"] else []


def third_party(name):
    """The entry of `networks` that a job needs, so that registering another network runs nothing again."""
    architecture = name.split("-", 1)[-1]  # of round<r>-<architecture>
    return {n: path for n, path in config["networks"].items() if n == architecture}


def network_weights(wildcards):
    """Weights of a verification descriptor named round<r>-<architecture>; hand-made ones have none."""
    if not wildcards.descriptor.startswith("round"):
        return []
    r, architecture = wildcards.descriptor.removeprefix("round").split("-", 1)
    return f"<results>/round{r}/model/{architecture}.safetensors"


def test_tracks(wildcards):
    """Labels of a test subject: the rendered truth, or the tracks of round 0 for photographs."""
    if SUBJECTS.loc[wildcards.subject, "source"] == "rendered":
        return f"<results>/verification/tracks/{wildcards.subject}.parquet"
    return f"<results>/round0/tracks/{wildcards.subject}.parquet"


def verification_reports(wildcards):
    """One JSON per test set and descriptor."""
    return expand(
        "<results>/verification/{t}/{d}.json",
        t=TEST_SETS,
        d=config["descriptors"]["verified"] + NETWORKS,
    )


def benchmark_weights(wildcards):
    """Weights of a descriptor of the benchmark; hand-made ones have none."""
    if wildcards.descriptor not in BENCHMARK_TRAINING:
        return []
    return "<results>/benchmark/model/{descriptor}.safetensors"


def benchmark_reports(wildcards):
    """One JSON per test set and descriptor of the benchmark."""
    if not TEST_SETS or (BENCHMARK_TRAINING and not CAN_TRAIN):
        needed = "verification" if not TEST_SETS else "train and validation"
        raise WorkflowError(
            f"The benchmark needs {needed} subjects: add some to {config['subjects']}."
        )
    return expand(
        "<results>/benchmark/{t}/{d}.json",
        t=TEST_SETS,
        d=config["benchmark"]["descriptors"],
    )


def detector_reports(wildcards):
    """Repeatability of both detectors on the rendered test subjects."""
    return expand(
        "<results>/detectors/{d}/{s}.json",
        d=DETECTORS,
        s=subjects_of("verification", "rendered"),
    )
