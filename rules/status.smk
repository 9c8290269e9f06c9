# Status: `snakemake status` says where a run stands, also while it runs; it writes nothing.


rule status:
    # Never written; the linter wants one.
    log:
        "<results>/logs/status.log",
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=500,
    params:
        planned=lambda w: planned_stages(),
        reconstructions={
            str(r): [
                f"{RESULTS}/round{r}/sfm/{s}"
                for s in planned_round(r)["reconstruct"][0]
            ]
            for r in ROUNDS
        },
    script:
        "../workflow/scripts/status.py"
