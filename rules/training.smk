# Training: one network per round, its checkpoint chosen on validation subjects.


rule train:
    input:
        train_patches="<results>/round{r}/dataset/train/patches.npy",
        train_index="<results>/round{r}/dataset/train/index.parquet",
        validation_patches="<results>/round{r}/dataset/validation/patches.npy",
        validation_index="<results>/round{r}/dataset/validation/index.parquet",
        validation_pairs="<results>/round{r}/dataset/validation/pairs.parquet",
        initial_weights=initial_weights,
    output:
        weights="<results>/round{r}/model/{architecture}.safetensors",
        card="<results>/round{r}/model/{architecture}.json",
        curve="<results>/round{r}/model/{architecture}.csv",
    log:
        "<results>/logs/train/round{r}-{architecture}.log",
    benchmark:
        "<results>/benchmarks/train/round{r}-{architecture}.tsv"
    conda:
        ENVIRONMENT
    threads: config["threads"]
    resources:
        mem_mb=memory("train"),
        runtime=minutes("train", training_gpus),
        gpu=training_gpus,
    params:
        settings=config["training"],
        networks=third_party(ARCHITECTURE),
        keep_collapsed=False,
        threads=config["threads"],  # the weights go with it, also on fewer cores
        checkpoint=lambda w, output: f"{output.weights}.checkpoint",
        seed=config["seed"],
        version=STAGE_VERSIONS["train"],
    message:
        "Round {wildcards.r}: training {wildcards.architecture}"
    script:
        "../workflow/scripts/train.py"
