# The long stages, which the status lists, and the files they are to write; failures it tells of all.
LEARNERS = subjects_of("train") + subjects_of("validation")
PER_SUBJECT = {  # of a round: whose jobs, which file, what its rows are
    "describe": (SFM_SUBJECTS, "descriptors/{s}.npy", "keypoints"),
    "match": (SFM_SUBJECTS, "matches/{s}.parquet", ""),
    "reconstruct": (SFM_SUBJECTS, "sfm/{s}", ""),
    "tracks": (LEARNERS, "tracks/{s}.parquet", ""),
    "extract": (LEARNERS, "patches/{s}.npy", "patches"),
}


def planned(stage, r, unit, files):
    """One stage of the status: its name, round, unit and files."""
    return stage, r, unit, [file.replace("<results>", RESULTS) for file in files]


def planned_stages():
    """The stages of a run in their order, each with the files it is to write, one per job."""
    everyone = list(SUBJECTS.index)
    captures = expand("<results>/captures/{s}/images.parquet", s=everyone)
    keypoints = expand("<results>/keypoints/{s}.parquet", s=everyone)
    stages = [
        planned("captures", "", "", captures),
        planned("detect", "", "", keypoints),
    ]
    for r in ROUNDS:
        folder = f"<results>/round{r}"
        for stage, (subjects, file, unit) in PER_SUBJECT.items():
            files = expand(f"{folder}/{file}", s=subjects)
            stages.append(planned(stage, str(r), unit, files))
        merged = expand(f"{folder}/dataset/{{s}}/pairs.parquet", s=DATASET_SPLITS)
        trained = [
            network_file(name) for name in NETWORKS if name.startswith(f"round{r}-")
        ]
        stages.append(planned("merge", str(r), "", merged))
        stages.append(planned("train", str(r), "patches", trained))
    described = [
        f"<results>/verification/{t}/descriptors/{d}.npy"
        for t in TEST_SETS
        for d in verified(t)
    ]
    dense = [
        f for f in reconstruction_files("dense") if VARIANTS[Path(f).parent.name].dense
    ]
    return [
        *stages,
        planned("describe_test", "", "patches", described),
        planned("verify", "", "", verification_files(".json")),
        planned("dense", "", "", dense),
        planned("evaluate_reconstruction", "", "", reconstruction_files("evaluation")),
        planned("summary", "", "", ["<results>/report/summary.md"]),
    ]
