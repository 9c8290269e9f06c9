# Structure from motion: COLMAP on our own keypoints and matches, then filtered tracks.


rule reconstruct:
    input:
        images="<results>/captures/{subject}/images.parquet",
        keypoints="<results>/keypoints/{subject}.parquet",
        matches="<results>/round{r}/matches/{subject}.parquet",
    output:
        sfm=directory("<results>/round{r}/sfm/{subject}"),
    log:
        "<results>/logs/reconstruct/round{r}-{subject}.log",
    benchmark:
        "<results>/benchmarks/reconstruct/round{r}-{subject}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=memory("reconstruct"),
        runtime=minutes("reconstruct"),
    params:
        settings=config["sfm"],
        seed=config["seed"],
        version=STAGE_VERSIONS["reconstruct"],
    message:
        "Round {wildcards.r}: structure from motion of {wildcards.subject}"
    script:
        "../workflow/scripts/reconstruct.py"


rule tracks:
    input:
        images="<results>/captures/{subject}/images.parquet",
        keypoints="<results>/keypoints/{subject}.parquet",
        sfm="<results>/round{r}/sfm/{subject}",
    output:
        tracks="<results>/round{r}/tracks/{subject}.parquet",
    log:
        "<results>/logs/tracks/round{r}-{subject}.log",
    benchmark:
        "<results>/benchmarks/tracks/round{r}-{subject}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=memory("tracks"),
        runtime=minutes("tracks"),
    params:
        settings=config["tracks"],
        version=STAGE_VERSIONS["tracks"],
    message:
        "Round {wildcards.r}: filtering the tracks of {wildcards.subject}"
    script:
        "../workflow/scripts/tracks.py"
