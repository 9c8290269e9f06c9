# What the rules share: the checked configuration and sheet, and functions that find inputs.
import re
import time
from pathlib import Path

from porepatch_lib.benchmark.settings import benchmark_training
from porepatch_lib.captures.sheet import MADE_MASKS, VARIATIONS, read_subjects, released
from porepatch_lib.config import suggestion, validate_config
from porepatch_lib.descriptors.bare_patches import BARE
from porepatch_lib.descriptors.networks import check_architecture
from porepatch_lib.descriptors.registry import (
    check_transferred,
    hand_made_names,
    sees_patch,
)
from porepatch_lib.errors import PorePatchError
from porepatch_lib.files import require_writable
from porepatch_lib.patches.imported import patch_set_files, patch_set_folders
from porepatch_lib.versions import STAGE_VERSIONS

try:
    validate_config(
        config, Path(workflow.basedir) / "workflow/schemas/config.schema.yaml"
    )
    SUBJECTS = read_subjects(config["subjects"]).set_index("subject")
    check_architecture(config["training"]["architecture"], config["networks"])
    check_transferred(config["descriptors"]["transferred"], config["networks"])
    BENCHMARK_TRAINING = benchmark_training(config["benchmark"], config["networks"])
    PATCH_FOLDERS = patch_set_folders(config["patch_sets"], SUBJECTS.index)
except PorePatchError as error:
    raise WorkflowError(str(error)) from None

ENVIRONMENT = f"../envs/{config['environment']}.yaml"
ROUNDS = list(range(config["rounds"]))
ARCHITECTURE = config["training"]["architecture"]
RESULTS = config["pathvars"]["results"]
SUMMARY = f"{RESULTS}/report/summary.md"
BEGAN = time.time()


def require_results():
    """Stop before the first job where the results may not be written."""
    try:
        require_writable(RESULTS)
    except PorePatchError as error:
        raise WorkflowError(str(error)) from None


def subjects_of(split=None, source=None):
    """Subjects of a split and of a source, in the order of the sheet."""
    rows = SUBJECTS
    rows = rows[rows["split"] == split] if split else rows
    rows = rows[rows["source"] == source] if source else rows
    return list(rows.index)


def alternatives(names):
    """A wildcard constraint that matches the given names and nothing else."""
    return "|".join(map(re.escape, names)) if names else "(?!)"


# Training needs both; a sheet without validation subjects still gives a dataset.
DATASET_SPLITS = [split for split in ("train", "validation") if subjects_of(split)]
AUDITED_SPLITS = [split for split in DATASET_SPLITS if subjects_of(split, "rendered")]
EXPORTED_SPLITS = [
    split
    for split in DATASET_SPLITS
    if any(released(SUBJECTS.loc[subject]) for subject in subjects_of(split))
]
CAN_TRAIN = len(DATASET_SPLITS) == 2
if config["rounds"] > 1 and len(SUBJECTS) and not CAN_TRAIN:
    missing = " and no ".join(sorted({"train", "validation"} - set(DATASET_SPLITS)))
    raise WorkflowError(
        f"The sheet {config['subjects']} has no {missing} subject, so no network can be trained for a second round: "
        "add one, or set rounds to 1."
    )
# Who labelled the pairs of a captured test set; of an imported one they are given.
LABELS = {
    "rendered": "truth",
    "photographs": "tracks",
    "nersemble": "tracks",
    "eth": "tracks",
}
CAPTURED_TEST_SETS = [
    source for source in LABELS if subjects_of("verification", source)
]
PATCH_SETS = config["patch_sets"]


def patch_sets_of(part):
    """Imported sets that serve a part; without any for validation the training sets hold some points out for it."""
    named = [name for name, one in PATCH_SETS.items() if one["split"] == part]
    return named or (patch_sets_of("train") if part == "validation" else [])


HOLD_OUT = patch_sets_of("train") == patch_sets_of("validation")
TEST_SETS = CAPTURED_TEST_SETS + patch_sets_of("verification")
SFM_SUBJECTS = (
    subjects_of("train") + subjects_of("validation") + subjects_of("reconstruction")
)
TRAINED_ROUNDS = ROUNDS if CAN_TRAIN else []
TRANSFERRED = config["descriptors"]["transferred"]
NETWORKS = [f"round{r}-{ARCHITECTURE}" for r in TRAINED_ROUNDS]
if patch_sets_of("train"):
    NETWORKS.append(f"imported-{ARCHITECTURE}")
# Where descriptors of no round train: the benchmark.
BENCHMARK_DATASET = (
    f"<results>/round{ROUNDS[-1]}/dataset"
    if CAN_TRAIN
    else "<results>/imported/dataset"
)
DETECTORS = ["pore", "psift_reference"]

REFERENCE = config["descriptors"]["reference"]


def require_descriptor(name, where):
    """Stop where a descriptor is asked for that is neither hand-made, nor transferred, nor a network of this run."""
    known = [*hand_made_names(), *TRANSFERRED, *NETWORKS]
    if name not in known:
        mend = suggestion(name, known) or "; give one of those compared."
        raise WorkflowError(
            f"There is no descriptor '{name}', which {where} names{mend}"
        )


require_descriptor(REFERENCE, "descriptors.reference of the config")


wildcard_constraints:
    subject=alternatives(list(SUBJECTS.index)),
    split=alternatives(DATASET_SPLITS),
    test_set=alternatives(TEST_SETS),
    patch_set=alternatives(list(PATCH_SETS)),
    part="train|validation",
    descriptor="[^/]+",
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


def architecture_of(name):
    """The architecture of a transferred network, whose file may not name it; files of ours do."""
    return TRANSFERRED[name]["architecture"] if name in TRANSFERRED else None


def third_party(name):
    """The entry of `networks` that a job needs, so that registering another network runs nothing again."""
    architecture = (
        architecture_of(name) or name.split("-", 1)[-1]
    )  # of <run>-<architecture>
    return {n: path for n, path in config["networks"].items() if n == architecture}


def network_file(name):
    """Weights of a network of this workflow, named <run>-<architecture>."""
    run, _, architecture = name.partition("-")
    return f"<results>/{run}/model/{architecture}.safetensors"


def network_weights(wildcards):
    """Weights of a descriptor named <run>-<architecture>, or of a transferred network; hand-made ones have none."""
    if wildcards.descriptor in TRANSFERRED:
        return TRANSFERRED[wildcards.descriptor]["weights"]
    if wildcards.descriptor in hand_made_names():
        return []
    run = wildcards.descriptor.partition("-")[0]
    if run not in ("imported", "benchmark") and not run.removeprefix("round").isdigit():
        require_descriptor(wildcards.descriptor, "the target")
    return network_file(wildcards.descriptor)


def verified(test_set):
    """Descriptors compared on a test set; on an imported one, which has no photographs, those that see patches."""
    names = config["descriptors"]["verified"]
    if test_set in PATCH_SETS:
        names = [name for name in names if sees_patch(name)]
    return names + list(TRANSFERRED) + NETWORKS


def labels_of(test_set):
    """Who labelled the pairs of a test set; for tracks, by whose matches."""
    labels = LABELS.get(test_set, "given")
    matched_by = f" of {config['descriptors']['initial']}" if labels == "tracks" else ""
    return labels + matched_by


def people_of(test_set):
    """Subjects of a captured test set; an imported one is its own."""
    return (
        [test_set] if test_set in PATCH_SETS else subjects_of("verification", test_set)
    )


def shown_in(test_set):
    """Subjects whose patches may be shown."""
    return [
        subject
        for subject in people_of(test_set)
        if test_set in PATCH_SETS or released(SUBJECTS.loc[subject])
    ]


def test_tracks(subject):
    """Labels of a test subject: the rendered truth, or the tracks of round 0 for photographs."""
    if SUBJECTS.loc[subject, "source"] == "rendered":
        return f"<results>/verification/tracks/{subject}.parquet"
    return f"<results>/round0/tracks/{subject}.parquet"


def verification_files(ending):
    """One file per test set and descriptor."""
    return [
        f"<results>/verification/{t}/{d}{ending}"
        for t in TEST_SETS
        for d in verified(t)
    ]


def matching_reports(wildcards):
    """One JSON per rendered test subject and descriptor of full photographs; of a bare patch there is no such thing."""
    return expand(
        "<results>/verification/matching/{s}/{d}.json",
        s=subjects_of("verification", "rendered"),
        d=[d for d in verified("rendered") if d not in BARE],
    )


def test_photographs(wildcards):
    """The images tables of the subjects of a captured test set."""
    return expand(
        "<results>/captures/{s}/images.parquet",
        s=subjects_of("verification", wildcards.test_set),
    )


def benchmark_weights(wildcards):
    """Weights of a descriptor of the benchmark; hand-made ones have none."""
    if wildcards.descriptor not in BENCHMARK_TRAINING:
        return []
    return network_file(f"benchmark-{wildcards.descriptor}")


def benchmarked(test_set):
    """Descriptors of the benchmark on a test set; see `verified`."""
    names = config["benchmark"]["descriptors"]
    can_see = lambda name: name in BENCHMARK_TRAINING or sees_patch(name)
    return [name for name in names if test_set not in PATCH_SETS or can_see(name)]


def benchmark_reports(wildcards):
    """One JSON per test set and descriptor of the benchmark; its own networks are named benchmark-<architecture>."""
    can_train = CAN_TRAIN or patch_sets_of("train")
    if not TEST_SETS or (BENCHMARK_TRAINING and not can_train):
        needed = "verification" if not TEST_SETS else "train and validation"
        raise WorkflowError(
            f"The benchmark needs {needed} subjects: add some to {config['subjects']}, or patch_sets to the config."
        )
    return [
        f"<results>/verification/{t}/{'benchmark-' if d in BENCHMARK_TRAINING else ''}{d}.json"
        for t in TEST_SETS
        for d in benchmarked(t)
    ]


def swept_card(wildcards):
    """What the test set was described with, which says at which sigma a descriptor of bare patches did best."""
    if wildcards.descriptor not in BARE:
        return []
    return (
        f"<results>/verification/{TEST_SETS[0]}/descriptors/{wildcards.descriptor}.json"
    )


def benchmark_speeds(wildcards):
    """One JSON per descriptor of the benchmark, timed on the first test set."""
    names = benchmarked(TEST_SETS[0]) if TEST_SETS else []
    return expand("<results>/benchmark/speed/{d}.json", d=names)


def detector_reports(wildcards):
    """Repeatability of both detectors on the rendered test subjects."""
    return expand(
        "<results>/detectors/{d}/{s}.json",
        d=DETECTORS,
        s=subjects_of("verification", "rendered"),
    )
