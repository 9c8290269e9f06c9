# Reporting: the table of the run and its figures.


rule summary:
    input:
        verification=verification_files(".json"),
        detectors=detector_reports,
        sfm=expand("<results>/round{r}/sfm/{s}", r=ROUNDS, s=SFM_SUBJECTS),
        cards=expand(
            "<results>/round{r}/model/{a}.json", r=TRAINED_ROUNDS, a=ARCHITECTURE
        ),
        curves=expand(
            "<results>/round{r}/model/{a}.csv", r=TRAINED_ROUNDS, a=ARCHITECTURE
        ),
        datasets=expand(
            "<results>/round{r}/dataset/{s}/index.parquet", r=ROUNDS, s=DATASET_SPLITS
        ),
        audits=expand("<results>/round{r}/audit/{s}.json", r=ROUNDS, s=AUDITED_SPLITS),
        sheets=expand(
            "<results>/round{r}/dataset/{s}/contact_sheet.png",
            r=ROUNDS,
            s=DATASET_SPLITS,
        ),
    output:
        summary=report(
            "<results>/report/summary.md",
            caption="../workflow/report/summary.rst",
            category="Summary",
        ),
        figures=report(
            directory("<results>/report/figures"),
            patterns=["{figure}.png"],
            caption="../workflow/report/figures.rst",
            category="Figures",
        ),
    log:
        "<results>/logs/summary.log",
    benchmark:
        "<results>/benchmarks/summary.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=memory("tables"),
        runtime=minutes("tables"),
    params:
        version=STAGE_VERSIONS["summary"],
    message:
        "Writing the summary"
    script:
        "../workflow/scripts/summary.py"
