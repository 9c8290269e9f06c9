# Captures: photographs, NeRSemble frames, or rendered faces with exact ground truth -> images.parquet, masks; a look at them.


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
        ENVIRONMENT
    threads: config["threads"]
    resources:
        mem_mb=memory("render"),
        runtime=minutes("render"),
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
        masks=given_masks,
        cameras=lambda wildcards: SUBJECTS.loc[wildcards.subject, "cameras"] or [],
    output:
        images="<results>/captures/{subject}/images.parquet",
        developed=directory("<results>/captures/{subject}/images"),
        masks=directory("<results>/captures/{subject}/masks"),
    log:
        "<results>/logs/capture/{subject}.log",
    benchmark:
        "<results>/benchmarks/capture/{subject}.tsv"
    wildcard_constraints:
        subject=alternatives(subjects_of(source="photographs")),
    conda:
        ENVIRONMENT
    threads: config["threads"]
    resources:
        mem_mb=memory("capture"),
        runtime=minutes("capture"),
    params:
        settings=config["photographs"],
        masks=config["masks"],
        mask_source=lambda wildcards: SUBJECTS.loc[wildcards.subject, "masks"],
        version=STAGE_VERSIONS["capture"],
    message:
        "Reading the photographs of {wildcards.subject}"
    script:
        "../workflow/scripts/capture.py"


rule nersemble:
    input:
        participant=lambda wildcards: SUBJECTS.loc[wildcards.subject, "path"],
        masks=given_masks,
    output:
        images="<results>/captures/{subject}/images.parquet",
        frames=directory("<results>/captures/{subject}/images"),
        masks=directory("<results>/captures/{subject}/masks"),
    log:
        "<results>/logs/nersemble/{subject}.log",
    benchmark:
        "<results>/benchmarks/nersemble/{subject}.tsv"
    wildcard_constraints:
        subject=alternatives(subjects_of(source="nersemble")),
    conda:
        ENVIRONMENT
    threads: config["threads"]
    resources:
        mem_mb=memory("capture"),
        runtime=minutes("capture"),
    params:
        settings=config["nersemble"],
        masks=config["masks"],
        mask_source=lambda wildcards: SUBJECTS.loc[wildcards.subject, "masks"],
        version=STAGE_VERSIONS["capture"],
    message:
        "Reading the NeRSemble frames of {wildcards.subject}"
    script:
        "../workflow/scripts/nersemble.py"


rule eth:
    input:
        dataset=lambda wildcards: SUBJECTS.loc[wildcards.subject, "path"],
        masks=given_masks,
    output:
        images="<results>/captures/{subject}/images.parquet",
        developed=directory("<results>/captures/{subject}/images"),
        masks=directory("<results>/captures/{subject}/masks"),
    log:
        "<results>/logs/eth/{subject}.log",
    benchmark:
        "<results>/benchmarks/eth/{subject}.tsv"
    wildcard_constraints:
        subject=alternatives(subjects_of(source="eth")),
    conda:
        ENVIRONMENT
    threads: config["threads"]
    resources:
        mem_mb=memory("capture"),
        runtime=minutes("capture"),
    params:
        settings=config["photographs"],
        masks=config["masks"],
        mask_source=lambda wildcards: SUBJECTS.loc[wildcards.subject, "masks"],
        version=STAGE_VERSIONS["capture"],
    message:
        "Reading the ETH dataset of {wildcards.subject}"
    script:
        "../workflow/scripts/eth.py"


rule survey:
    input:
        images="<results>/captures/{subject}/images.parquet",
        keypoints="<results>/keypoints/{subject}.parquet",
    output:
        quality="<results>/captures/{subject}/quality.parquet",
        sheet="<results>/captures/{subject}/contact_sheet.png",
    log:
        "<results>/logs/survey/{subject}.log",
    benchmark:
        "<results>/benchmarks/survey/{subject}.tsv"
    conda:
        ENVIRONMENT
    threads: config["threads"]
    resources:
        mem_mb=memory("survey"),
        runtime=minutes("survey"),
    params:
        settings=config["survey"],
        version=STAGE_VERSIONS["survey"],
    message:
        "Looking at the captures of {wildcards.subject}"
    script:
        "../workflow/scripts/survey.py"
