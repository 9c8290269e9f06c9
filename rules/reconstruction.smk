# Reconstruction as a test of descriptors: the ETH protocol and its variants over several seeds, dense clouds, truth, the table.


use rule describe_features as describe_calibration with:
    output:
        descriptors="<results>/reconstruction/calibration/{subject}/{descriptor}.npy",
    log:
        "<results>/logs/describe_calibration/{subject}-{descriptor}.log",
    benchmark:
        "<results>/benchmarks/describe_calibration/{subject}-{descriptor}.tsv"
    wildcard_constraints:
        subject=alternatives(subjects_of("validation")),


rule calibrate_ratio:
    input:
        images=lambda w: expand(
            "<results>/captures/{s}/images.parquet", s=subjects_of("validation")
        ),
        keypoints=lambda w: expand(
            "<results>/keypoints/{s}.parquet", s=subjects_of("validation")
        ),
        descriptors=lambda w: expand(
            "<results>/reconstruction/calibration/{s}/{d}.npy",
            s=subjects_of("validation"),
            d=w.descriptor,
        ),
        pairs=lambda w: expand(
            "<results>/pairs/{s}.parquet", s=subjects_of("validation")
        ),
        truths=lambda w: expand(
            "<results>/captures/{s}/truth", s=subjects_of("validation", "rendered")
        ),
    output:
        card="<results>/reconstruction/calibration/{descriptor}.json",
    log:
        "<results>/logs/calibrate_ratio/{descriptor}.log",
    benchmark:
        "<results>/benchmarks/calibrate_ratio/{descriptor}.tsv"
    conda:
        ENVIRONMENT
    threads: config["threads"]
    resources:
        mem_mb=memory("calibrate_ratio"),
        runtime=minutes("calibrate_ratio"),
    params:
        settings=config["calibration"],
        sfm=config["sfm"],
        subjects=subjects_of("validation"),
        rendered=subjects_of("validation", "rendered"),
        seed=config["seed"],
        version=STAGE_VERSIONS["calibrate_ratio"],
    message:
        "Measuring on validation subjects which ratio test suits {wildcards.descriptor}"
    script:
        "../workflow/scripts/calibrate_ratio.py"


use rule match as match_features with:
    input:
        images="<results>/captures/{subject}/images.parquet",
        keypoints=features_keypoints,
        descriptors=f"{FOLDER}/descriptors.npy",
        pairs="<results>/pairs/{subject}.parquet",
        calibration=ratio_card,
    output:
        matches=f"{FOLDER}/{{variant}}/matches.parquet",
    log:
        "<results>/logs/match_features/{subject}-{descriptor}-{variant}.log",
    benchmark:
        "<results>/benchmarks/match_features/{subject}-{descriptor}-{variant}.tsv"
    params:
        settings=lambda w: {
            "ratio": ratio_of(w),
            "min_matches": VARIANTS[w.variant].min_matches,
        },
        version=STAGE_VERSIONS["match"],
    message:
        "Matching {wildcards.descriptor} of {wildcards.subject} ({wildcards.variant})"


use rule reconstruct as reconstruct_first with:
    input:
        images="<results>/captures/{subject}/images.parquet",
        keypoints=features_keypoints,
        matches=putative_matches,
    output:
        sfm=directory(f"{FOLDER}/{{variant}}/first"),
    log:
        "<results>/logs/reconstruct_first/{subject}-{descriptor}-{variant}.log",
    benchmark:
        "<results>/benchmarks/reconstruct_first/{subject}-{descriptor}-{variant}.tsv"
    params:
        settings=sfm_of,
        seed=config["seed"],
        version=STAGE_VERSIONS["reconstruct"],
    message:
        "First structure from motion of {wildcards.subject} with {wildcards.descriptor} ({wildcards.variant})"


rule match_guided:
    input:
        images="<results>/captures/{subject}/images.parquet",
        keypoints=features_keypoints,
        descriptors=f"{FOLDER}/descriptors.npy",
        pairs="<results>/pairs/{subject}.parquet",
        matches=putative_matches,
        model=guiding_model,
        calibration=ratio_card,
    output:
        matches=f"{FOLDER}/{{variant}}/guided.parquet",
    log:
        "<results>/logs/match_guided/{subject}-{descriptor}-{variant}.log",
    benchmark:
        "<results>/benchmarks/match_guided/{subject}-{descriptor}-{variant}.tsv"
    conda:
        ENVIRONMENT
    threads: config["threads"]
    resources:
        mem_mb=memory("match_guided"),
        runtime=minutes("match_guided"),
    params:
        settings=guided_by,
        sfm=sfm_of,
        seed=config["seed"],
        version=STAGE_VERSIONS["match_guided"],
    message:
        "Matching {wildcards.descriptor} of {wildcards.subject} once more by its geometry ({wildcards.variant})"
    script:
        "../workflow/scripts/match_guided.py"


use rule reconstruct as reconstruct_unrefined with:
    input:
        images="<results>/captures/{subject}/images.parquet",
        keypoints=features_keypoints,
        matches=final_matches,
    output:
        sfm=directory(f"{FOLDER}/{{variant}}/unrefined"),
    log:
        "<results>/logs/reconstruct_unrefined/{subject}-{descriptor}-{variant}.log",
    benchmark:
        "<results>/benchmarks/reconstruct_unrefined/{subject}-{descriptor}-{variant}.tsv"
    params:
        settings=sfm_of,
        seed=config["seed"],
        version=STAGE_VERSIONS["reconstruct"],
    message:
        "Structure from motion of {wildcards.subject} before refinement with {wildcards.descriptor} ({wildcards.variant})"


rule refine_keypoints:
    input:
        images="<results>/captures/{subject}/images.parquet",
        keypoints=features_keypoints,
        sfm=f"{FOLDER}/{{variant}}/unrefined",
    output:
        keypoints=f"{FOLDER}/{{variant}}/refined.parquet",
    log:
        "<results>/logs/refine_keypoints/{subject}-{descriptor}-{variant}.log",
    benchmark:
        "<results>/benchmarks/refine_keypoints/{subject}-{descriptor}-{variant}.tsv"
    conda:
        ENVIRONMENT
    threads: config["threads"]
    resources:
        mem_mb=memory("refine_keypoints"),
        runtime=minutes("refine_keypoints"),
    params:
        settings=config["refinement"],
        version=STAGE_VERSIONS["refine_keypoints"],
    message:
        "Aligning the keypoints of {wildcards.subject} across their tracks ({wildcards.descriptor}, {wildcards.variant})"
    script:
        "../workflow/scripts/refine_keypoints.py"


use rule reconstruct as reconstruct_features with:
    input:
        images="<results>/captures/{subject}/images.parquet",
        keypoints=final_keypoints,
        matches=final_matches,
    output:
        sfm=directory(f"{FOLDER}/{{variant}}/sfm{{repeat}}"),
    log:
        "<results>/logs/reconstruct_features/{subject}-{descriptor}-{variant}-{repeat}.log",
    benchmark:
        "<results>/benchmarks/reconstruct_features/{subject}-{descriptor}-{variant}-{repeat}.tsv"
    params:
        settings=sfm_of,
        seed=lambda w: config["seed"] + int(w.repeat),
        version=STAGE_VERSIONS["reconstruct"],
    message:
        "Structure from motion {wildcards.repeat} of {wildcards.subject} with {wildcards.descriptor} ({wildcards.variant})"


rule dense:
    input:
        images="<results>/captures/{subject}/images.parquet",
        sfm=f"{FOLDER}/{{variant}}/sfm0",
    output:
        dense=directory(f"{FOLDER}/{{variant}}/dense"),
    log:
        "<results>/logs/dense/{subject}-{descriptor}-{variant}.log",
    benchmark:
        "<results>/benchmarks/dense/{subject}-{descriptor}-{variant}.tsv"
    conda:
        ENVIRONMENT
    threads: config["threads"]
    resources:
        mem_mb=memory("dense"),
        runtime=minutes("dense", dense_gpus),
        gpu=dense_gpus,
    params:
        settings=config["dense"],
        seed=config["seed"],
        version=STAGE_VERSIONS["dense"],
    message:
        "Dense stereo of {wildcards.subject} with {wildcards.descriptor} ({wildcards.variant})"
    script:
        "../workflow/scripts/dense.py"


rule evaluate_reconstruction:
    input:
        images="<results>/captures/{subject}/images.parquet",
        truth=lambda w: truth_of(w.subject),
        descriptors=f"{FOLDER}/descriptors.npy",
        sfm=[f"{FOLDER}/{{variant}}/sfm{k}" for k in REPEATS],
        dense=dense_folder,
        calibration=ratio_card,
    output:
        evaluation=directory(f"{FOLDER}/{{variant}}/evaluation"),
    log:
        "<results>/logs/evaluate_reconstruction/{subject}-{descriptor}-{variant}.log",
    benchmark:
        "<results>/benchmarks/evaluate_reconstruction/{subject}-{descriptor}-{variant}.tsv"
    conda:
        ENVIRONMENT
    threads: config["threads"]
    resources:
        mem_mb=memory("evaluate_reconstruction"),
        runtime=minutes("evaluate_reconstruction"),
    params:
        settings=config["reconstruction_truth"],
        learned=lambda w: bool(
            not has_own_keypoints(w.descriptor) and network_weights(w)
        ),
        features=lambda w: feature_source(w.descriptor),
        ratio=ratio_of,
        seeds=[config["seed"] + k for k in REPEATS],
        seed=config["seed"],
        version=STAGE_VERSIONS["evaluate_reconstruction"],
    message:
        "Judging the reconstruction of {wildcards.subject} with {wildcards.descriptor} ({wildcards.variant})"
    script:
        "../workflow/scripts/evaluate_reconstruction.py"


rule draw_clouds:
    input:
        evaluation=f"{FOLDER}/{{variant}}/evaluation",
    output:
        picture=report(
            f"{FOLDER}/{{variant}}/clouds.png",
            caption="../workflow/report/clouds.rst",
            category="Reconstruction",
        ),
    log:
        "<results>/logs/draw_clouds/{subject}-{descriptor}-{variant}.log",
    benchmark:
        "<results>/benchmarks/draw_clouds/{subject}-{descriptor}-{variant}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=memory("draw_clouds"),
        runtime=minutes("draw_clouds"),
    params:
        shown=lambda w: released(SUBJECTS.loc[w.subject]),
        version=STAGE_VERSIONS["draw_clouds"],
    message:
        "Drawing the clouds of {wildcards.subject} with {wildcards.descriptor} ({wildcards.variant})"
    script:
        "../workflow/scripts/draw_clouds.py"


rule reconstruction_table:
    input:
        evaluations=reconstruction_files("evaluation"),
    output:
        csv="<results>/reconstruction/table.csv",
        markdown=report(
            "<results>/reconstruction/table.md",
            caption="../workflow/report/reconstruction.rst",
            category="Reconstruction",
        ),
        latex="<results>/reconstruction/table.tex",
        figures=report(
            directory("<results>/reconstruction/figures"),
            patterns=["{figure}.png"],
            caption="../workflow/report/reconstruction.rst",
            category="Reconstruction",
        ),
    log:
        "<results>/logs/reconstruction_table.log",
    benchmark:
        "<results>/benchmarks/reconstruction_table.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=memory("tables"),
        runtime=minutes("tables"),
    params:
        reference=config["reconstruction"]["reference"],
        version=STAGE_VERSIONS["reconstruction_table"],
    message:
        "Writing the table of the reconstructions"
    script:
        "../workflow/scripts/reconstruction_table.py"
