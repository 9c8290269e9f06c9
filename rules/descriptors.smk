# Descriptors: PSIFT in round 0, then the network trained in the round before.


rule describe:
    input:
        images="<results>/captures/{subject}/images.parquet",
        keypoints="<results>/keypoints/{subject}.parquet",
        weights=round_weights,
    output:
        descriptors="<results>/round{r}/descriptors/{subject}.npy",
    log:
        "<results>/logs/describe/round{r}-{subject}.log",
    benchmark:
        "<results>/benchmarks/describe/round{r}-{subject}.tsv"
    conda:
        "../envs/porepatch.yaml"
    threads: config["threads"]
    resources:
        mem_mb=6000,
        gpu=lambda w: int(w.r != "0"),
    params:
        hand_made=config["descriptors"]["initial"],
        crop_factor=config["patches"]["crop_factor"],
        version=STAGE_VERSIONS["describe"],
    message:
        "Round {wildcards.r}: describing the keypoints of {wildcards.subject}"
    script:
        "../workflow/scripts/describe.py"
