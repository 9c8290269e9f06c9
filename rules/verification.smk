# Verification: fixed test sets of held-out subjects or of other people's patches, every descriptor on them, one table.


rule truth_tracks:
    input:
        images="<results>/captures/{subject}/images.parquet",
        keypoints="<results>/keypoints/{subject}.parquet",
        truth="<results>/captures/{subject}/truth",
    output:
        tracks="<results>/verification/tracks/{subject}.parquet",
    log:
        "<results>/logs/truth_tracks/{subject}.log",
    benchmark:
        "<results>/benchmarks/truth_tracks/{subject}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=memory("truth_tracks"),
        runtime=minutes("truth_tracks"),
    params:
        settings=config["truth"],
        version=STAGE_VERSIONS["truth"],
    message:
        "Labelling the keypoints of {wildcards.subject} by their true surface points"
    script:
        "../workflow/scripts/truth_tracks.py"


use rule extract as extract_test with:
    input:
        images="<results>/captures/{subject}/images.parquet",
        keypoints="<results>/keypoints/{subject}.parquet",
        tracks=lambda w: test_tracks(w.subject),
    output:
        patches="<results>/verification/patches/{subject}.npy",
        index="<results>/verification/patches/{subject}.parquet",
    log:
        "<results>/logs/extract_test/{subject}.log",
    benchmark:
        "<results>/benchmarks/extract_test/{subject}.tsv"
    message:
        "Cutting the test patches of {wildcards.subject}"


rule merge_test:
    input:
        patches=lambda w: expand(
            "<results>/verification/patches/{s}.npy", s=people_of(w.test_set)
        ),
        index=lambda w: expand(
            "<results>/verification/patches/{s}.parquet", s=people_of(w.test_set)
        ),
        images=test_photographs,
        tracks=lambda w: [test_tracks(s) for s in people_of(w.test_set)],
        keypoints=lambda w: expand(
            "<results>/keypoints/{s}.parquet", s=people_of(w.test_set)
        ),
        truths=lambda w: expand(
            "<results>/captures/{s}/truth",
            s=people_of(w.test_set) if w.test_set == "rendered" else [],
        ),
        models=lambda w: expand(
            "<results>/round0/sfm/{s}",
            s=people_of(w.test_set) if w.test_set != "rendered" else [],
        ),
    output:
        patches="<results>/verification/{test_set}/patches.npy",
        index="<results>/verification/{test_set}/index.parquet",
        pairs="<results>/verification/{test_set}/pairs.parquet",
    log:
        "<results>/logs/merge_test/{test_set}.log",
    benchmark:
        "<results>/benchmarks/merge_test/{test_set}.tsv"
    wildcard_constraints:
        test_set=alternatives(CAPTURED_TEST_SETS),
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=memory("merge_test"),
        runtime=minutes("merge_test"),
    params:
        settings=config["test_pairs"],
        subjects=lambda w: people_of(w.test_set),
        title="test set {test_set}",
        seed=config["seed"],
        version=STAGE_VERSIONS["test_pairs"],
    message:
        "Merging the test set {wildcards.test_set} and drawing its pairs"
    script:
        "../workflow/scripts/merge_test.py"


use rule card as card_test with:
    input:
        index="<results>/verification/{test_set}/index.parquet",
        pairs="<results>/verification/{test_set}/pairs.parquet",
        subjects=config["subjects"] or [],
    output:
        card="<results>/verification/cards/{test_set}.json",
    log:
        "<results>/logs/card/{test_set}.log",
    benchmark:
        "<results>/benchmarks/card/{test_set}.tsv"
    params:
        title="test set {test_set}",
        labels=[0, "verification"],
        photographed_skin=bool(config["rendering"].get("skin_photographs")),
        version=STAGE_VERSIONS["card"],
    message:
        "Writing the card of the test set {wildcards.test_set}"


use rule export_phototour as export_test_set with:
    input:
        patches="<results>/verification/{test_set}/patches.npy",
        index="<results>/verification/{test_set}/index.parquet",
        pairs="<results>/verification/{test_set}/pairs.parquet",
        card="<results>/verification/cards/{test_set}.json",
    output:
        phototour=directory("<results>/verification/{test_set}/phototour"),
    log:
        "<results>/logs/export_phototour/{test_set}.log",
    benchmark:
        "<results>/benchmarks/export_phototour/{test_set}.tsv"
    wildcard_constraints:
        test_set=alternatives(CAPTURED_TEST_SETS),
    params:
        is_test_set=True,
        version=STAGE_VERSIONS["dataset"],
    message:
        "Exporting the test set {wildcards.test_set} as UBC PhotoTour"


rule describe_test:
    input:
        patches="<results>/verification/{test_set}/patches.npy",
        index="<results>/verification/{test_set}/index.parquet",
        pairs="<results>/verification/{test_set}/pairs.parquet",
        images=test_photographs,
        weights=network_weights,
    output:
        descriptors="<results>/verification/{test_set}/descriptors/{descriptor}.npy",
        card="<results>/verification/{test_set}/descriptors/{descriptor}.json",
    log:
        "<results>/logs/describe_test/{test_set}-{descriptor}.log",
    benchmark:
        "<results>/benchmarks/describe_test/{test_set}-{descriptor}.tsv"
    conda:
        ENVIRONMENT
    threads: config["threads"]
    resources:
        mem_mb=memory("describe_test"),
        runtime=minutes("describe_test", network_gpus),
        gpu=network_gpus,
    params:
        settings=lambda w: config["sweep"] if w.descriptor in BARE else {},
        architecture=lambda w: architecture_of(w.descriptor),
        networks=lambda w: third_party(w.descriptor),
        subjects=lambda w: subjects_of("verification", w.test_set),
        seed=config["seed"],
        version=STAGE_VERSIONS["describe_test"],
    message:
        "Describing the test set {wildcards.test_set} with {wildcards.descriptor}"
    script:
        "../workflow/scripts/describe_test.py"


rule verify:
    input:
        index="<results>/verification/{test_set}/index.parquet",
        pairs="<results>/verification/{test_set}/pairs.parquet",
        descriptors="<results>/verification/{test_set}/descriptors/{descriptor}.npy",
        card="<results>/verification/{test_set}/descriptors/{descriptor}.json",
    output:
        report="<results>/verification/{test_set}/{descriptor}.json",
    log:
        "<results>/logs/verify/{test_set}-{descriptor}.log",
    benchmark:
        "<results>/benchmarks/verify/{test_set}-{descriptor}.tsv"
    conda:
        ENVIRONMENT
    threads: config["threads"]
    resources:
        mem_mb=memory("verify"),
        runtime=minutes("verify"),
    params:
        settings=config["verification"],
        hpatches=config["hpatches"],
        labels=lambda w: labels_of(w.test_set),
        subjects=lambda w: people_of(w.test_set),
        seed=config["seed"],
        version=STAGE_VERSIONS["verify"],
    message:
        "Verifying {wildcards.descriptor} on the test set {wildcards.test_set}"
    script:
        "../workflow/scripts/verify.py"


rule worst_pairs:
    input:
        patches="<results>/verification/{test_set}/patches.npy",
        index="<results>/verification/{test_set}/index.parquet",
        pairs="<results>/verification/{test_set}/pairs.parquet",
        descriptors="<results>/verification/{test_set}/descriptors/{descriptor}.npy",
    output:
        sheet=report(
            "<results>/verification/{test_set}/{descriptor}_worst.png",
            caption="../workflow/report/worst_pairs.rst",
            category="Verification",
        ),
        table="<results>/verification/{test_set}/{descriptor}_worst.csv",
    log:
        "<results>/logs/worst_pairs/{test_set}-{descriptor}.log",
    benchmark:
        "<results>/benchmarks/worst_pairs/{test_set}-{descriptor}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=memory("worst_pairs"),
        runtime=minutes("worst_pairs"),
    params:
        pairs=20,
        shown=lambda w: shown_in(w.test_set),
        version=STAGE_VERSIONS["verification_table"],
    message:
        "The worst pairs of {wildcards.descriptor} on the test set {wildcards.test_set}"
    script:
        "../workflow/scripts/worst_pairs.py"


rule matching_score:
    input:
        images="<results>/captures/{subject}/images.parquet",
        keypoints="<results>/keypoints/{subject}.parquet",
        truth="<results>/captures/{subject}/truth",
        weights=network_weights,
    output:
        report="<results>/verification/matching/{subject}/{descriptor}.json",
    log:
        "<results>/logs/matching_score/{subject}-{descriptor}.log",
    benchmark:
        "<results>/benchmarks/matching_score/{subject}-{descriptor}.tsv"
    conda:
        ENVIRONMENT
    threads: config["threads"]
    resources:
        mem_mb=memory("matching_score"),
        runtime=minutes("matching_score", network_gpus),
        gpu=network_gpus,
    params:
        settings=config["matching_score"],
        crop_factor=config["patches"]["crop_factor"],
        architecture=lambda w: architecture_of(w.descriptor),
        networks=lambda w: third_party(w.descriptor),
        seed=config["seed"],
        version=STAGE_VERSIONS["matching_score"],
    message:
        "Matching the photographs of {wildcards.subject} by {wildcards.descriptor}, judged by truth"
    script:
        "../workflow/scripts/matching_score.py"


rule verification_table:
    input:
        reports=verification_files(".json"),
        matching=matching_reports,
    output:
        csv="<results>/verification/table.csv",
        markdown=report(
            "<results>/verification/table.md",
            caption="../workflow/report/verification.rst",
            category="Verification",
        ),
        latex="<results>/verification/table.tex",
        comparisons="<results>/verification/comparisons.csv",
        figures=report(
            directory("<results>/verification/figures"),
            patterns=["{figure}.png"],
            caption="../workflow/report/verification.rst",
            category="Verification",
        ),
    log:
        "<results>/logs/verification_table.log",
    benchmark:
        "<results>/benchmarks/verification_table.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=memory("tables"),
        runtime=minutes("tables"),
    params:
        reference=REFERENCE,
        version=STAGE_VERSIONS["verification_table"],
    message:
        "Writing the table of the verification"
    script:
        "../workflow/scripts/verification_table.py"
