# Descriptors: PSIFT in round 0, then the network trained in the round before; trained networks for other programs.


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
        ENVIRONMENT
    threads: config["threads"]
    resources:
        mem_mb=memory("describe"),
        runtime=minutes("describe", network_gpus),
        gpu=network_gpus,
    params:
        hand_made=config["descriptors"]["initial"],
        crop_factor=config["patches"]["crop_factor"],
        networks=third_party(ARCHITECTURE),
        version=STAGE_VERSIONS["describe"],
    message:
        "Round {wildcards.r}: describing the keypoints of {wildcards.subject}"
    script:
        "../workflow/scripts/describe.py"


rule export_onnx:
    input:
        weights="<results>/round{r}/model/{architecture}.safetensors",
        card="<results>/round{r}/model/{architecture}.json",
    output:
        onnx="<results>/round{r}/model/{architecture}.onnx",
    log:
        "<results>/logs/export_onnx/round{r}-{architecture}.log",
    benchmark:
        "<results>/benchmarks/export_onnx/round{r}-{architecture}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=memory("export_onnx"),
        runtime=minutes("export_onnx"),
    params:
        networks=third_party(ARCHITECTURE),
        version=STAGE_VERSIONS["export_onnx"],
    message:
        "Round {wildcards.r}: exporting {wildcards.architecture} to ONNX"
    script:
        "../workflow/scripts/export_onnx.py"


use rule export_onnx as export_imported_onnx with:
    input:
        weights="<results>/imported/model/{architecture}.safetensors",
        card="<results>/imported/model/{architecture}.json",
    output:
        onnx="<results>/imported/model/{architecture}.onnx",
    log:
        "<results>/logs/export_onnx/imported-{architecture}.log",
    benchmark:
        "<results>/benchmarks/export_onnx/imported-{architecture}.tsv"
    message:
        "Exporting the imported {wildcards.architecture} to ONNX"
