# Evaluation: one fixed test set of held-out subjects for all rounds, and the detector against truth.


rule truth_tracks:
    input:
        images="<results>/captures/{subject}/images.parquet",
        keypoints="<results>/keypoints/{subject}.parquet",
        truth="<results>/captures/{subject}/truth",
    output:
        tracks="<results>/verification/tracks/{subject}.parquet",
    log:
        "<results>/logs/truth_tracks/{subject}.log",
    benchmark:
        "<results>/benchmarks/truth_tracks/{subject}.tsv"
    conda:
        "../envs/porepatch.yaml"
    threads: 1
    resources:
        mem_mb=4000,
    params:
        settings=config["truth"],
        version=STAGE_VERSIONS["truth"],
    message:
        "Labelling the keypoints of {wildcards.subject} by their true surface points"
    script:
        "../workflow/scripts/truth_tracks.py"


use rule extract as extract_test with:
    input:
        images="<results>/captures/{subject}/images.parquet",
        keypoints="<results>/keypoints/{subject}.parquet",
        tracks=test_tracks,
    output:
        patches="<results>/verification/patches/{subject}.npy",
        index="<results>/verification/patches/{subject}.parquet",
    log:
        "<results>/logs/extract_test/{subject}.log",
    benchmark:
        "<results>/benchmarks/extract_test/{subject}.tsv"
    message:
        "Cutting the test patches of {wildcards.subject}"


use rule merge as merge_test with:
    input:
        patches=lambda w: expand(
            "<results>/verification/patches/{s}.npy",
            s=subjects_of("verification", w.test_set),
        ),
        index=lambda w: expand(
            "<results>/verification/patches/{s}.parquet",
            s=subjects_of("verification", w.test_set),
        ),
    output:
        patches="<results>/verification/{test_set}/patches.npy",
        index="<results>/verification/{test_set}/index.parquet",
        pairs="<results>/verification/{test_set}/pairs.parquet",
    log:
        "<results>/logs/merge_test/{test_set}.log",
    benchmark:
        "<results>/benchmarks/merge_test/{test_set}.tsv"
    params:
        settings=config["pairs"],
        subjects=lambda w: subjects_of("verification", w.test_set),
        title="test set {test_set}",
        hint="look at the tracks of its subjects",
        seed=config["seed"],
        version=STAGE_VERSIONS["dataset"],
    message:
        "Merging the test set {wildcards.test_set}"


rule verify:
    input:
        patches="<results>/verification/{test_set}/patches.npy",
        index="<results>/verification/{test_set}/index.parquet",
        pairs="<results>/verification/{test_set}/pairs.parquet",
        images=lambda w: expand(
            "<results>/captures/{s}/images.parquet",
            s=subjects_of("verification", w.test_set),
        ),
        weights=network_weights,
    output:
        report="<results>/verification/{test_set}/{descriptor}.json",
    log:
        "<results>/logs/verify/{test_set}-{descriptor}.log",
    benchmark:
        "<results>/benchmarks/verify/{test_set}-{descriptor}.tsv"
    conda:
        "../envs/porepatch.yaml"
    threads: config["threads"]
    resources:
        mem_mb=4000,
        gpu=lambda w: int(w.descriptor.startswith("round")),
    params:
        settings=config["verification"],
        networks=lambda w: third_party(w.descriptor),
        subjects=lambda w: subjects_of("verification", w.test_set),
        seed=config["seed"],
        version=STAGE_VERSIONS["verify"],
    message:
        "Verifying {wildcards.descriptor} on the test set {wildcards.test_set}"
    script:
        "../workflow/scripts/verify.py"


rule audit:
    input:
        index="<results>/round{r}/dataset/{split}/index.parquet",
        pairs="<results>/round{r}/dataset/{split}/pairs.parquet",
        images=lambda w: expand(
            "<results>/captures/{s}/images.parquet", s=subjects_of(w.split, "rendered")
        ),
        truth=lambda w: expand(
            "<results>/captures/{s}/truth", s=subjects_of(w.split, "rendered")
        ),
    output:
        report="<results>/round{r}/audit/{split}.json",
        table="<results>/round{r}/audit/{split}.parquet",
    log:
        "<results>/logs/audit/round{r}-{split}.log",
    benchmark:
        "<results>/benchmarks/audit/round{r}-{split}.tsv"
    conda:
        "../envs/porepatch.yaml"
    threads: 1
    resources:
        mem_mb=4000,
    params:
        settings=config["audit"],
        subjects=lambda w: subjects_of(w.split, "rendered"),
        version=STAGE_VERSIONS["audit"],
    message:
        "Round {wildcards.r}: checking the labels of the {wildcards.split} dataset against the truth"
    script:
        "../workflow/scripts/audit.py"


use rule detect as detect_with with:
    output:
        keypoints="<results>/detectors/{detector}/{subject}.parquet",
    log:
        "<results>/logs/detect_with/{detector}-{subject}.log",
    benchmark:
        "<results>/benchmarks/detect_with/{detector}-{subject}.tsv"
    params:
        settings=lambda w: config["keypoints"] | {"detector": w.detector},
        version=STAGE_VERSIONS["detect"],
    message:
        "Detecting pores on {wildcards.subject} with {wildcards.detector}"


rule evaluate_detector:
    input:
        images="<results>/captures/{subject}/images.parquet",
        keypoints="<results>/detectors/{detector}/{subject}.parquet",
        truth="<results>/captures/{subject}/truth",
    output:
        report="<results>/detectors/{detector}/{subject}.json",
    log:
        "<results>/logs/evaluate_detector/{detector}-{subject}.log",
    benchmark:
        "<results>/benchmarks/evaluate_detector/{detector}-{subject}.tsv"
    conda:
        "../envs/porepatch.yaml"
    threads: 1
    resources:
        mem_mb=4000,
    params:
        settings=config["detector_evaluation"],
        version=STAGE_VERSIONS["evaluate_detector"],
    message:
        "Measuring the repeatability of {wildcards.detector} on {wildcards.subject}"
    script:
        "../workflow/scripts/evaluate_detector.py"
