# Matching: all pairs of views, mutual nearest neighbours and ratio.


rule view_pairs:
    input:
        images="<results>/captures/{subject}/images.parquet",
    output:
        pairs="<results>/pairs/{subject}.parquet",
    log:
        "<results>/logs/view_pairs/{subject}.log",
    benchmark:
        "<results>/benchmarks/view_pairs/{subject}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=memory("view_pairs"),
        runtime=minutes("view_pairs"),
    message:
        "Pairing the views of {wildcards.subject}"
    script:
        "../workflow/scripts/view_pairs.py"


rule match:
    input:
        images="<results>/captures/{subject}/images.parquet",
        keypoints="<results>/keypoints/{subject}.parquet",
        descriptors="<results>/round{r}/descriptors/{subject}.npy",
        pairs="<results>/pairs/{subject}.parquet",
    output:
        matches="<results>/round{r}/matches/{subject}.parquet",
    log:
        "<results>/logs/match/round{r}-{subject}.log",
    benchmark:
        "<results>/benchmarks/match/round{r}-{subject}.tsv"
    conda:
        ENVIRONMENT
    threads: config["threads"]
    resources:
        mem_mb=memory("match"),
        runtime=minutes("match"),
    params:
        settings=config["matching"],
        version=STAGE_VERSIONS["match"],
    message:
        "Round {wildcards.r}: matching the views of {wildcards.subject}"
    script:
        "../workflow/scripts/match.py"
