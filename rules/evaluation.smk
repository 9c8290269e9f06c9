# Evaluation: the labels of the datasets and the detectors against truth.


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
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=memory("audit"),
        runtime=minutes("audit"),
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
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=memory("evaluate_detector"),
        runtime=minutes("evaluate_detector"),
    params:
        settings=config["detector_evaluation"],
        version=STAGE_VERSIONS["evaluate_detector"],
    message:
        "Measuring the repeatability of {wildcards.detector} on {wildcards.subject}"
    script:
        "../workflow/scripts/evaluate_detector.py"
