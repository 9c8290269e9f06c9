# The long stages, which the status lists, and the files they are to write; failures it tells of all.
LEARNERS = subjects_of("train") + subjects_of("validation")
# Photographed test subjects have their labels from the tracks of round 0.
TRACKED = [
    subject
    for subject in subjects_of("verification")
    if SUBJECTS.loc[subject, "source"] != "rendered"
]


def planned_round(r):
    """Per subject: whose jobs a round has, which file, what its rows are."""
    tested = TRACKED if r == 0 else []
    return {
        "describe": (SFM_SUBJECTS + tested, "descriptors/{s}.npy", "keypoints"),
        "match": (SFM_SUBJECTS + tested, "matches/{s}.parquet", ""),
        "reconstruct": (SFM_SUBJECTS + tested, "sfm/{s}", ""),
        "tracks": (LEARNERS + tested, "tracks/{s}.parquet", ""),
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
        for stage, (subjects, file, unit) in planned_round(r).items():
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
    imported = [network_file(name) for name in NETWORKS if name.startswith("imported-")]
    stages += [
        planned("train", "", "patches", imported),
        planned("describe_test", "", "patches", described),
        planned("verify", "", "", verification_files(".json")),
        planned("dense", "", "", dense),
        planned("evaluate_reconstruction", "", "", reconstruction_files("evaluation")),
        planned("summary", "", "", ["<results>/report/summary.md"]),
    ]
    return [stage for stage in stages if stage[-1]]
