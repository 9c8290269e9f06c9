# Features to reconstruct from: a descriptor on our keypoints, COLMAP's own SIFT, or anybody's files; and ours for others.


use rule describe as describe_features with:
    input:
        images="<results>/captures/{subject}/images.parquet",
        keypoints="<results>/keypoints/{subject}.parquet",
        weights=network_weights,
    output:
        descriptors=f"{FOLDER}/descriptors.npy",
    log:
        "<results>/logs/describe_features/{subject}-{descriptor}.log",
    benchmark:
        "<results>/benchmarks/describe_features/{subject}-{descriptor}.tsv"
    wildcard_constraints:
        descriptor=f"(?!(?:{alternatives([COLMAP_SIFT, *GIVEN_FEATURES])})/)[^/]+",
    params:
        hand_made="{descriptor}",
        crop_factor=config["patches"]["crop_factor"],
        networks=lambda w: third_party(w.descriptor),
        architecture=lambda w: architecture_of(w.descriptor),
        version=STAGE_VERSIONS["describe"],
    message:
        "Describing the keypoints of {wildcards.subject} with {wildcards.descriptor}"


rule colmap_sift:
    input:
        images="<results>/captures/{subject}/images.parquet",
    output:
        keypoints=f"<results>/reconstruction/{{subject}}/{COLMAP_SIFT}/keypoints.parquet",
        descriptors=f"<results>/reconstruction/{{subject}}/{COLMAP_SIFT}/descriptors.npy",
    log:
        "<results>/logs/colmap_sift/{subject}.log",
    benchmark:
        "<results>/benchmarks/colmap_sift/{subject}.tsv"
    conda:
        ENVIRONMENT
    threads: config["threads"]
    resources:
        mem_mb=memory("colmap_sift"),
        runtime=minutes("colmap_sift"),
    params:
        settings=config["colmap_sift"],
        version=STAGE_VERSIONS["colmap_sift"],
    message:
        "COLMAP's own SIFT on {wildcards.subject}"
    script:
        "../workflow/scripts/colmap_sift.py"


rule import_features:
    input:
        images="<results>/captures/{subject}/images.parquet",
        features=given_features,
    output:
        keypoints="<results>/reconstruction/{subject}/{given}/keypoints.parquet",
        descriptors="<results>/reconstruction/{subject}/{given}/descriptors.npy",
    log:
        "<results>/logs/import_features/{subject}-{given}.log",
    benchmark:
        "<results>/benchmarks/import_features/{subject}-{given}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=memory("exchange"),
        runtime=minutes("exchange"),
    params:
        version=STAGE_VERSIONS["import_features"],
    message:
        "Importing the features {wildcards.given} of {wildcards.subject}"
    script:
        "../workflow/scripts/import_features.py"


rule import_matches:
    input:
        images="<results>/captures/{subject}/images.parquet",
        keypoints="<results>/reconstruction/{subject}/{given}/keypoints.parquet",
        given_matches=given_matches,
    output:
        matches="<results>/reconstruction/{subject}/{given}/given_matches.parquet",
    log:
        "<results>/logs/import_matches/{subject}-{given}.log",
    benchmark:
        "<results>/benchmarks/import_matches/{subject}-{given}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=memory("exchange"),
        runtime=minutes("exchange"),
    params:
        version=STAGE_VERSIONS["import_features"],
    message:
        "Importing the matches {wildcards.given} of {wildcards.subject}"
    script:
        "../workflow/scripts/import_matches.py"


rule export_features:
    input:
        images=released_images,
        keypoints=final_keypoints,
        descriptors=f"{FOLDER}/descriptors.npy",
        matches=final_matches,
    output:
        eth=directory(f"{FOLDER}/{{variant}}/eth"),
        features=f"{FOLDER}/{{variant}}/hloc/features.h5",
        matches=f"{FOLDER}/{{variant}}/hloc/matches.h5",
    log:
        "<results>/logs/export_features/{subject}-{descriptor}-{variant}.log",
    benchmark:
        "<results>/benchmarks/export_features/{subject}-{descriptor}-{variant}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=memory("exchange"),
        runtime=minutes("exchange"),
    params:
        version=STAGE_VERSIONS["export_features"],
    message:
        "Exporting {wildcards.descriptor} of {wildcards.subject} as an ETH dataset and for hloc"
    script:
        "../workflow/scripts/export_features.py"
