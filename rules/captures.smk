# Captures: photographs, or rendered faces with exact ground truth -> images.parquet, masks.


rule render:
    output:
        images="<results>/captures/{subject}/images.parquet",
        photographs=directory("<results>/captures/{subject}/images"),
        masks=directory("<results>/captures/{subject}/masks"),
        truth=directory("<results>/captures/{subject}/truth"),
    log:
        "<results>/logs/render/{subject}.log",
    benchmark:
        "<results>/benchmarks/render/{subject}.tsv"
    wildcard_constraints:
        subject=alternatives(subjects_of(source="rendered")),
    conda:
        "../envs/porepatch.yaml"
    threads: config["threads"]
    resources:
        mem_mb=4000,
    params:
        settings=config["rendering"],
        variation=lambda w: SUBJECTS.loc[w.subject, list(VARIATIONS)].to_dict(),
        seed=config["seed"],
        version=STAGE_VERSIONS["render"],
    message:
        "Rendering the captures of {wildcards.subject}"
    script:
        "../workflow/scripts/render.py"


rule capture:
    input:
        photographs=lambda wildcards: SUBJECTS.loc[wildcards.subject, "path"],
        masks=lambda wildcards: SUBJECTS.loc[wildcards.subject, "masks"] or [],
        cameras=lambda wildcards: SUBJECTS.loc[wildcards.subject, "cameras"] or [],
    output:
        images="<results>/captures/{subject}/images.parquet",
        masks=directory("<results>/captures/{subject}/masks"),
    log:
        "<results>/logs/capture/{subject}.log",
    benchmark:
        "<results>/benchmarks/capture/{subject}.tsv"
    wildcard_constraints:
        subject=alternatives(subjects_of(source="photographs")),
    conda:
        "../envs/porepatch.yaml"
    threads: 1
    resources:
        mem_mb=2000,
    params:
        settings=config["photographs"],
        version=STAGE_VERSIONS["capture"],
    message:
        "Reading the photographs of {wildcards.subject}"
    script:
        "../workflow/scripts/capture.py"
