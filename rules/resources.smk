# What a job asks for: memory and time from the size of its input and the attempt, GPUs where one helps.
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, distribution

from porepatch_lib.costs.cost import memory_mb, runtime_minutes
from porepatch_lib.costs.sizes import (
    capture_sizes,
    expected_sizes,
    file_bytes,
    patch_count,
    row_count,
)
from porepatch_lib.costs.table import COSTS
from porepatch_lib.costs.work import Person, work_of
from porepatch_lib.dense.settings import CPU, CUDA

# Of imported patch sets before they are imported; Liberty of UBC PhotoTour has 450,092.
IMPORTED_PATCHES = 500_000
PATCH_INPUTS = ["patches", "train_patches", "datasets", "index"]
# Whose captures the stages work on whose files do not say so; other stages: everybody's.
STAGE_SPLITS = {
    "train": "train",
    "calibrate_ratio": "validation",
    "speed": "verification",
}


def memory(stage):
    """The MB of a job; twice as many at its second attempt, four times at further ones."""
    return lambda wildcards, input, threads, attempt: memory_mb(
        cost_of(stage, wildcards), work_in(stage, wildcards, input), threads, attempt
    )


def minutes(stage, gpus=lambda wildcards: 0):
    """The minutes of a job that asks for `gpus`; twice as many at every further attempt."""
    return lambda wildcards, input, threads, attempt: runtime_minutes(
        cost_of(stage, wildcards),
        work_in(stage, wildcards, input),
        threads,
        gpus(wildcards),
        attempt,
    )


def cost_of(stage, wildcards):
    """The costs of a stage; a network's where it describes by one."""
    by_network = COSTS.get(f"{stage}_network")
    return by_network if by_network and uses_network(wildcards) else COSTS[stage]


def uses_network(wildcards):
    """Whether a job describes by a network, which a GPU helps."""
    if "learned" in wildcards.keys():
        return True
    if "descriptor" in wildcards.keys():
        name = wildcards.descriptor
        return name in BENCHMARK_TRAINING or bool(network_weights(wildcards))
    return wildcards.get("r", "0") != "0"


def network_gpus(wildcards):
    """GPUs of a job that describes by a network; hand-made descriptors ask for none."""
    return config["gpu"] if uses_network(wildcards) else 0


def training_gpus(wildcards):
    """GPUs of a job that trains."""
    return config["gpu"]


def dense_gpus(wildcards):
    """GPUs of dense stereo: none where it runs on the CPU, as it does where COLMAP comes without CUDA."""
    method = config["dense"]["method"]
    if method == CPU or (method != CUDA and not has_cuda_colmap()):
        return 0
    return config["gpu"]


def has_cuda_colmap():
    """Whether jobs have COLMAP with CUDA: as the config says of their environment, or installed beside Snakemake."""
    if config["environment"] == "cuda":
        return True
    try:
        distribution("pycolmap-cuda12")
    except PackageNotFoundError:
        return False
    return True


def work_in(stage, wildcards, input):
    """What a job has to do: by its input where that exists already, else by the configuration."""
    people = [captured(subject) for subject in subjects_in(stage, wildcards)]
    keypoints = as_list(input.get("keypoints"))
    if len(keypoints) == len(people):
        people = [
            replace(person, keypoints=row_count(table, person.keypoints))
            for person, table in zip(people, keypoints)
        ]
    training = training_of(wildcards)
    return work_of(
        people,
        patches=patches_in(people, input),
        pairs=labelled_pairs(input),
        steps=training["steps"],
        batch=2 * training["points_per_batch"],
        input_bytes=sum(file_bytes(path) for path in as_list(input.get("files"))),
        dense_px=config["dense"]["max_image_px"],
    )


def subjects_in(stage, wildcards):
    """The subjects that a job works on."""
    if "subject" in wildcards.keys():
        return [wildcards.subject]
    if "split" in wildcards.keys():
        return subjects_of(wildcards.split)
    if "test_set" in wildcards.keys():
        return subjects_of("verification", wildcards.test_set)
    if "part" in wildcards.keys() or "patch_set" in wildcards.keys():
        return []
    return subjects_of(STAGE_SPLITS.get(stage))


def captured(subject):
    """The captures of a subject, or what is expected of them."""
    row = SUBJECTS.loc[subject]
    table = Path(RESULTS) / f"captures/{subject}/images.parquet"
    sizes = capture_sizes(table, expected_sizes(row["source"], row["path"], config))
    return Person(sizes, len(sizes) * config["keypoints"]["target_count"])


def patches_in(people, input):
    """The patches that a job reads; None where it reads none yet."""
    named = (as_list(input.get(name)) for name in PATCH_INPUTS)
    stores = next(filter(None, named), [])
    if not stores:
        return None
    expected = work_of(people).patches * 1000 if people else IMPORTED_PATCHES
    return sum(patch_count(store, round(expected / len(stores))) for store in stores)


def labelled_pairs(input):
    """The labelled pairs of patches that a job reads or draws."""
    drawn = config["test_pairs"]["pairs"] + config["test_pairs"]["hard"]
    expected = max(drawn, config["pairs"]["pairs"])
    given = as_list(input.get("pairs"))
    return row_count(given[0], expected) if len(given) == 1 else expected


def training_of(wildcards):
    """The training settings of a job that trains."""
    return BENCHMARK_TRAINING.get(wildcards.get("learned"), config["training"])


def as_list(files):
    """The files under one name of an input: none, one, or several."""
    return [files] if isinstance(files, str) else list(files or [])
