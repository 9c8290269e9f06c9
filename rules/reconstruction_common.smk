# What the rules of the reconstruction share: its variants, whose features, and functions that find their files.
from porepatch_lib.reconstruction.columns import OWN_FEATURES
from porepatch_lib.reconstruction.variants import CALIBRATED, COLMAP_SIFT, Variant

GIVEN_FEATURES = config["reconstruction"]["features"]
REPEATS = list(range(config["reconstruction"]["repeats"]))
RECONSTRUCTED = subjects_of("reconstruction")
FOLDER = "<results>/reconstruction/{subject}/{descriptor}"

try:
    VARIANTS = {
        name: Variant(**keys)
        for name, keys in config["reconstruction"]["variants"].items()
    }
except PorePatchError as error:
    raise WorkflowError(str(error)) from None


def require_known(names, known, where):
    """Stop where the config names something that there is not."""
    for name in names:
        if name not in known:
            mend = suggestion(name, known) or f"; known are {', '.join(known)}."
            raise WorkflowError(f"There is no '{name}', which {where} names{mend}")


def reconstructed_with():
    """Descriptors that are compared: hand-made ones, COLMAP's own, anybody's, transferred networks, and the last one trained here."""
    names = config["reconstruction"]["descriptors"]
    last_round = [network for network in NETWORKS if network.startswith("round")][-1:]
    imported = [network for network in NETWORKS if network.startswith("imported")]
    return [*names, *GIVEN_FEATURES, *TRANSFERRED, *last_round, *imported]


ANY_DESCRIPTOR = [*hand_made_names(), COLMAP_SIFT, *TRANSFERRED, *NETWORKS]
require_known(config["reconstruction"]["compared"], VARIANTS, "reconstruction.compared")
require_known(
    config["reconstruction"]["ratios"], ANY_DESCRIPTOR, "reconstruction.ratios"
)
require_known(
    [config["reconstruction"]["reference"]],
    [*ANY_DESCRIPTOR, *GIVEN_FEATURES],
    "reconstruction.reference",
)
for name in GIVEN_FEATURES:
    if name in ANY_DESCRIPTOR:
        raise WorkflowError(
            f"The features '{name}' of the config have the name of a descriptor; give them another."
        )
for name in {"calibration", "figures"} & set(RECONSTRUCTED):
    raise WorkflowError(
        f"The subject '{name}' of {config['subjects']} has the name of a folder of the reconstruction; rename it."
    )


wildcard_constraints:
    variant=alternatives(list(VARIANTS)),
    given=alternatives(list(GIVEN_FEATURES)),
    repeat=r"\d+",


def has_own_keypoints(name):
    """Whether a descriptor comes with keypoints of its own."""
    return name == COLMAP_SIFT or name in GIVEN_FEATURES


def feature_source(name):
    """Whose features these are, for the table."""
    if name in GIVEN_FEATURES:
        return "given"
    return "colmap" if name == COLMAP_SIFT else OWN_FEATURES


def given_features(wildcards):
    """The features that somebody gives for a subject."""
    path = GIVEN_FEATURES[wildcards.given]["path"]
    return path.replace("{subject}", wildcards.subject)


def given_matches(wildcards):
    """The matches that somebody gives for a subject."""
    path = GIVEN_FEATURES[wildcards.given]["matches"]
    return path.replace("{subject}", wildcards.subject)


def released_images(wildcards):
    """The images table of a subject whose photographs may leave the house."""
    if not released(SUBJECTS.loc[wildcards.subject]):
        raise WorkflowError(
            f"The release of '{wildcards.subject}' is false in {config['subjects']}, so its photographs are not exported: ask for "
            "another subject."
        )
    return "<results>/captures/{subject}/images.parquet"


def features_keypoints(wildcards):
    """The keypoints that a descriptor describes."""
    if has_own_keypoints(wildcards.descriptor):
        return f"{FOLDER}/keypoints.parquet"
    return "<results>/keypoints/{subject}.parquet"


def ratio_card(wildcards):
    """What validation subjects say about the ratio test of a descriptor, where a variant asks and they can."""
    asks = VARIANTS[wildcards.variant].ratio == CALIBRATED
    given = wildcards.descriptor in config["reconstruction"]["ratios"]
    own = has_own_keypoints(wildcards.descriptor)
    if not asks or given or own or not subjects_of("validation"):
        return []
    return "<results>/reconstruction/calibration/{descriptor}.json"


def ratio_of(wildcards):
    """The ratio test of a variant; where it is to be calibrated and nothing can be, the one given, or the protocol's."""
    ratio = VARIANTS[wildcards.variant].ratio
    if ratio != CALIBRATED:
        return ratio
    fallback = config["calibration"]["fallback"]
    return config["reconstruction"]["ratios"].get(wildcards.descriptor, fallback)


def putative_matches(wildcards):
    """Matches by descriptor alone, ours or those given with the features."""
    given = GIVEN_FEATURES.get(wildcards.descriptor, {})
    return f"{FOLDER}/{'given_matches' if given.get('matches') else '{variant}/matches'}.parquet"


def final_matches(wildcards):
    """The matches that a variant reconstructs from."""
    if VARIANTS[wildcards.variant].matcher == "mutual":
        return putative_matches(wildcards)
    return f"{FOLDER}/{{variant}}/guided.parquet"


def sfm_of(wildcards):
    """The settings of structure from motion that a variant has."""
    return config["sfm"] | VARIANTS[wildcards.variant].sfm


def guided_by(wildcards):
    """The settings of guided matching that a variant has: along the rig's lines, those of the matches, or around a model's places."""
    variant = VARIANTS[wildcards.variant]
    by = "poses" if variant.mapper == "known_poses" else "epipolar"
    return config["guided"] | {
        "by": "model" if variant.matcher == "model" else by,
        "ratio": ratio_of(wildcards),
        "min_matches": variant.min_matches,
    }


def guiding_model(wildcards):
    """The first reconstruction of a variant whose matching it guides."""
    is_guided = VARIANTS[wildcards.variant].matcher == "model"
    return f"{FOLDER}/{{variant}}/first" if is_guided else []


def final_keypoints(wildcards):
    """The keypoints that a variant reconstructs from."""
    if VARIANTS[wildcards.variant].refined:
        return f"{FOLDER}/{{variant}}/refined.parquet"
    return features_keypoints(wildcards)


def dense_folder(wildcards):
    """The dense cloud of a variant that goes on to one."""
    return f"{FOLDER}/{{variant}}/dense" if VARIANTS[wildcards.variant].dense else []


def truth_of(subject):
    """The true surface of a rendered subject."""
    is_rendered = SUBJECTS.loc[subject, "source"] == "rendered"
    return f"<results>/captures/{subject}/truth" if is_rendered else []


def reconstruction_files(name):
    """One file per reconstruction that is compared."""
    return expand(
        f"{FOLDER}/{{variant}}/{name}",
        subject=RECONSTRUCTED,
        descriptor=reconstructed_with(),
        variant=config["reconstruction"]["compared"],
    )
