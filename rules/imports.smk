# Imports: other people's patch sets (UBC PhotoTour, PorePatch mosaics) to train and verify on, without any capture.


rule import_patches:
    input:
        files=lambda w: patch_set_files(
            PATCH_FOLDERS[w.patch_set], PATCH_SETS[w.patch_set].get("pairs")
        ),
    output:
        patches="<results>/imported/{patch_set}/{part}.npy",
        index="<results>/imported/{patch_set}/{part}.parquet",
    log:
        "<results>/logs/import_patches/{patch_set}-{part}.log",
    benchmark:
        "<results>/benchmarks/import_patches/{patch_set}-{part}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=memory("import_patches"),
        runtime=minutes("import_patches"),
    params:
        part="{part}",
        settings=lambda w: PATCH_SETS[w.patch_set],
        hold_out=HOLD_OUT,
        seed=config["seed"],
        version=STAGE_VERSIONS["import_patches"],
    message:
        "Importing the {wildcards.part} patches of {wildcards.patch_set}"
    script:
        "../workflow/scripts/import_patches.py"


use rule import_patches as import_test_set with:
    output:
        patches="<results>/verification/{patch_set}/patches.npy",
        index="<results>/verification/{patch_set}/index.parquet",
        pairs="<results>/verification/{patch_set}/pairs.parquet",
    log:
        "<results>/logs/import_patches/{patch_set}.log",
    benchmark:
        "<results>/benchmarks/import_patches/{patch_set}.tsv"
    wildcard_constraints:
        patch_set=alternatives(patch_sets_of("verification")),
    params:
        part="verification",
        settings=lambda w: PATCH_SETS[w.patch_set],
        hold_out=False,
        seed=config["seed"],
        version=STAGE_VERSIONS["import_patches"],
    message:
        "Importing the test set {wildcards.patch_set}"


use rule merge as merge_imported with:
    input:
        patches=lambda w: expand(
            "<results>/imported/{s}/{part}.npy", s=patch_sets_of(w.part), part=w.part
        ),
        index=lambda w: expand(
            "<results>/imported/{s}/{part}.parquet",
            s=patch_sets_of(w.part),
            part=w.part,
        ),
    output:
        patches="<results>/imported/dataset/{part}/patches.npy",
        index="<results>/imported/dataset/{part}/index.parquet",
        pairs="<results>/imported/dataset/{part}/pairs.parquet",
    log:
        "<results>/logs/merge/imported-{part}.log",
    benchmark:
        "<results>/benchmarks/merge/imported-{part}.tsv"
    params:
        settings=config["pairs"],
        subjects=lambda w: patch_sets_of(w.part),
        title="{part} split of the imported patch sets",
        hint="look at their info.txt",
        seed=config["seed"],
        version=STAGE_VERSIONS["dataset"],
    message:
        "Merging the imported {wildcards.part} patches"


use rule train as train_imported with:
    input:
        train_patches="<results>/imported/dataset/train/patches.npy",
        train_index="<results>/imported/dataset/train/index.parquet",
        validation_patches="<results>/imported/dataset/validation/patches.npy",
        validation_index="<results>/imported/dataset/validation/index.parquet",
        validation_pairs="<results>/imported/dataset/validation/pairs.parquet",
        initial_weights=[],
    output:
        weights="<results>/imported/model/{architecture}.safetensors",
        card="<results>/imported/model/{architecture}.json",
        curve="<results>/imported/model/{architecture}.csv",
    log:
        "<results>/logs/train/imported-{architecture}.log",
    benchmark:
        "<results>/benchmarks/train/imported-{architecture}.tsv"
    message:
        "Training {wildcards.architecture} on the imported patches"
