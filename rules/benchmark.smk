# Benchmark: any list of descriptors, trained alike on the last round's dataset, verified on the fixed test sets, timed.


use rule train as train_benchmark with:
    input:
        train_patches=f"{BENCHMARK_DATASET}/train/patches.npy",
        train_index=f"{BENCHMARK_DATASET}/train/index.parquet",
        validation_patches=f"{BENCHMARK_DATASET}/validation/patches.npy",
        validation_index=f"{BENCHMARK_DATASET}/validation/index.parquet",
        validation_pairs=f"{BENCHMARK_DATASET}/validation/pairs.parquet",
        initial_weights=[],
    output:
        weights="<results>/benchmark/model/{learned}.safetensors",
        card="<results>/benchmark/model/{learned}.json",
        curve="<results>/benchmark/model/{learned}.csv",
    log:
        "<results>/logs/train/benchmark-{learned}.log",
    benchmark:
        "<results>/benchmarks/train/benchmark-{learned}.tsv"
    params:
        settings=lambda w: BENCHMARK_TRAINING[w.learned],
        networks=lambda w: third_party(w.learned),
        keep_collapsed=True,
        threads=config["threads"],
        checkpoint=lambda w, output: f"{output.weights}.checkpoint",
        seed=config["seed"],
        version=STAGE_VERSIONS["train"],
    message:
        "Benchmark: training {wildcards.learned}"


rule speed:
    input:
        patches=lambda w: f"<results>/verification/{TEST_SETS[0]}/patches.npy",
        index=lambda w: f"<results>/verification/{TEST_SETS[0]}/index.parquet",
        images=lambda w: expand(
            "<results>/captures/{s}/images.parquet",
            s=subjects_of("verification", TEST_SETS[0]),
        ),
        weights=benchmark_weights,
        card=swept_card,
    output:
        report="<results>/benchmark/speed/{descriptor}.json",
    log:
        "<results>/logs/speed/{descriptor}.log",
    benchmark:
        "<results>/benchmarks/speed/{descriptor}.tsv"
    wildcard_constraints:
        descriptor=alternatives(config["benchmark"]["descriptors"]),
    conda:
        ENVIRONMENT
    threads: config["threads"]
    resources:
        mem_mb=memory("speed"),
        runtime=minutes("speed", network_gpus),
        gpu=network_gpus,
    params:
        subjects=lambda w: subjects_of("verification", TEST_SETS[0]),
        networks=lambda w: third_party(w.descriptor),
        version=STAGE_VERSIONS["speed"],
    message:
        "Benchmark: timing {wildcards.descriptor}"
    script:
        "../workflow/scripts/speed.py"


rule benchmark:
    input:
        verification=benchmark_reports,
        speeds=benchmark_speeds,
        cards=expand("<results>/benchmark/model/{a}.json", a=BENCHMARK_TRAINING),
    output:
        table="<results>/benchmark/descriptors.csv",
        page=report(
            "<results>/benchmark/descriptors.md",
            caption="../workflow/report/benchmark.rst",
            category="Benchmark",
        ),
        figures=report(
            directory("<results>/benchmark/figures"),
            patterns=["{figure}.png"],
            caption="../workflow/report/benchmark.rst",
            category="Benchmark",
        ),
    log:
        "<results>/logs/benchmark.log",
    benchmark:
        "<results>/benchmarks/benchmark.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=memory("tables"),
        runtime=minutes("tables"),
    params:
        version=STAGE_VERSIONS["benchmark"],
    message:
        "Benchmark: writing the table of the descriptors"
    script:
        "../workflow/scripts/benchmark.py"
