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
        ENVIRONMENT
    threads: config["threads"]
    resources:
        mem_mb=memory("detect"),
        runtime=minutes("detect"),
    params:
        settings=config["keypoints"],
        version=STAGE_VERSIONS["detect"],
    message:
        "Detecting pores on {wildcards.subject}"
    script:
        "../workflow/scripts/detect.py"
