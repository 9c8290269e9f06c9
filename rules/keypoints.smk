# Keypoints: once per subject, whatever the round.


rule detect:
    input:
        images="<results>/captures/{subject}/images.parquet",
    output:
        keypoints="<results>/keypoints/{subject}.parquet",
    log:
        "<results>/logs/detect/{subject}.log",
    benchmark:
        "<results>/benchmarks/detect/{subject}.tsv"
    conda:
        "../envs/porepatch.yaml"
    threads: config["threads"]
    resources:
        mem_mb=4000,
    params:
        settings=config["keypoints"],
        version=STAGE_VERSIONS["detect"],
    message:
        "Detecting pores on {wildcards.subject}"
    script:
        "../workflow/scripts/detect.py"
