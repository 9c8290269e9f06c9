# Patches: crops per subject, merged into one store per split, with labelled pairs; whom they show; what may be released of them.


rule extract:
    input:
        images="<results>/captures/{subject}/images.parquet",
        keypoints="<results>/keypoints/{subject}.parquet",
        tracks="<results>/round{r}/tracks/{subject}.parquet",
    output:
        patches="<results>/round{r}/patches/{subject}.npy",
        index="<results>/round{r}/patches/{subject}.parquet",
    log:
        "<results>/logs/extract/round{r}-{subject}.log",
    benchmark:
        "<results>/benchmarks/extract/round{r}-{subject}.tsv"
    conda:
        ENVIRONMENT
    threads: config["threads"]
    resources:
        mem_mb=memory("extract"),
        runtime=minutes("extract"),
    params:
        settings=config["patches"],
        version=STAGE_VERSIONS["patches"],
    message:
        "Round {wildcards.r}: cutting the patches of {wildcards.subject}"
    script:
        "../workflow/scripts/extract.py"


rule merge:
    input:
        patches=lambda w: expand(
            "<results>/round{r}/patches/{s}.npy", r=w.r, s=subjects_of(w.split)
        ),
        index=lambda w: expand(
            "<results>/round{r}/patches/{s}.parquet", r=w.r, s=subjects_of(w.split)
        ),
    output:
        patches="<results>/round{r}/dataset/{split}/patches.npy",
        index="<results>/round{r}/dataset/{split}/index.parquet",
        pairs="<results>/round{r}/dataset/{split}/pairs.parquet",
    log:
        "<results>/logs/merge/round{r}-{split}.log",
    benchmark:
        "<results>/benchmarks/merge/round{r}-{split}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=memory("merge"),
        runtime=minutes("merge"),
    params:
        settings=config["pairs"],
        subjects=lambda w: subjects_of(w.split),
        title="{split} split of round {r}",
        hint="look at status.json in the sfm folders of the round",
        seed=config["seed"],
        version=STAGE_VERSIONS["dataset"],
    message:
        "Round {wildcards.r}: merging the {wildcards.split} dataset"
    script:
        "../workflow/scripts/merge.py"


# The card reads the sheet by itself: what people agreed to may be written down, or change, without any stage before it running
# again, and never enters the report.
rule card:
    input:
        index="<results>/round{r}/dataset/{split}/index.parquet",
        pairs="<results>/round{r}/dataset/{split}/pairs.parquet",
        subjects=config["subjects"] or [],
    output:
        card="<results>/round{r}/dataset/{split}/card.json",
    log:
        "<results>/logs/card/round{r}-{split}.log",
    benchmark:
        "<results>/benchmarks/card/round{r}-{split}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=memory("card"),
        runtime=minutes("card"),
    params:
        title="{split} split of round {r}",
        labels=lambda w: [int(w.r), w.split],
        photographed_skin=bool(config["rendering"].get("skin_photographs")),
        version=STAGE_VERSIONS["card"],
    message:
        "Round {wildcards.r}: writing the card of the {wildcards.split} dataset"
    script:
        "../workflow/scripts/card.py"


rule contact_sheet:
    input:
        patches="<results>/round{r}/dataset/{split}/patches.npy",
        index="<results>/round{r}/dataset/{split}/index.parquet",
        card="<results>/round{r}/dataset/{split}/card.json",
    output:
        sheet=report(
            "<results>/round{r}/dataset/{split}/contact_sheet.png",
            caption="../workflow/report/contact_sheet.rst",
            category="Patches",
        ),
    log:
        "<results>/logs/contact_sheet/round{r}-{split}.log",
    benchmark:
        "<results>/benchmarks/contact_sheet/round{r}-{split}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=memory("contact_sheet"),
        runtime=minutes("contact_sheet"),
    params:
        points=16,
        seed=config["seed"],
        version=STAGE_VERSIONS["dataset"],
    message:
        "Round {wildcards.r}: laying out patches of the {wildcards.split} dataset"
    script:
        "../workflow/scripts/contact_sheet.py"


rule export_phototour:
    input:
        patches="<results>/round{r}/dataset/{split}/patches.npy",
        index="<results>/round{r}/dataset/{split}/index.parquet",
        pairs="<results>/round{r}/dataset/{split}/pairs.parquet",
        card=released_card,
    output:
        phototour=directory("<results>/round{r}/phototour/{split}"),
    log:
        "<results>/logs/export_phototour/round{r}-{split}.log",
    benchmark:
        "<results>/benchmarks/export_phototour/round{r}-{split}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=memory("export_phototour"),
        runtime=minutes("export_phototour"),
    params:
        is_test_set=False,
        version=STAGE_VERSIONS["dataset"],
    message:
        "Round {wildcards.r}: exporting the {wildcards.split} dataset as UBC PhotoTour"
    script:
        "../workflow/scripts/export_phototour.py"
