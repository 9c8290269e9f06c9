"""The default configuration, its schema and the settings of the library say the same."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml

from porepatch_lib.captures.photographs import PhotographSettings
from porepatch_lib.config import SCHEMAS, validate_config
from porepatch_lib.dense.settings import DenseSettings
from porepatch_lib.errors import PorePatchError
from porepatch_lib.evaluation.audit import AuditSettings
from porepatch_lib.evaluation.detectors import DetectorSettings
from porepatch_lib.keypoints.detect import KeypointSettings, make_detector
from porepatch_lib.keypoints.pore import PoreSettings
from porepatch_lib.keypoints.psift_reference import ReferenceSettings
from porepatch_lib.matching.calibration import CalibrationSettings
from porepatch_lib.matching.guided import GuidedSettings
from porepatch_lib.matching.match import MatchSettings
from porepatch_lib.patches.extract import PatchSettings
from porepatch_lib.patches.pairs import PairSettings
from porepatch_lib.reconstruction.surface import ReconstructionTruthSettings
from porepatch_lib.reconstruction.variants import Variant
from porepatch_lib.refinement.refine import RefinementSettings
from porepatch_lib.rendering.presets import PRESETS, render_settings
from porepatch_lib.rendering.settings import RenderSettings
from porepatch_lib.sfm.settings import SfmSettings
from porepatch_lib.sfm.sift import ColmapSiftSettings
from porepatch_lib.sfm.tracks import TrackSettings
from porepatch_lib.training.settings import TrainingSettings
from porepatch_lib.verification.describe import SweepSettings
from porepatch_lib.verification.hpatches import HPatchesSettings
from porepatch_lib.verification.matching_score import MatchingScoreSettings
from porepatch_lib.verification.pairs import VerificationPairSettings
from porepatch_lib.verification.truth_tracks import TruthSettings
from porepatch_lib.verification.verify import VerificationSettings

_PROJECT = Path(__file__).resolve().parents[2]
_SECTIONS = {
    "photographs": PhotographSettings,
    "keypoints": KeypointSettings,
    "matching": MatchSettings,
    "sfm": SfmSettings,
    "tracks": TrackSettings,
    "patches": PatchSettings,
    "pairs": PairSettings,
    "training": TrainingSettings,
    "truth": TruthSettings,
    "test_pairs": VerificationPairSettings,
    "sweep": SweepSettings,
    "hpatches": HPatchesSettings,
    "matching_score": MatchingScoreSettings,
    "verification": VerificationSettings,
    "detector_evaluation": DetectorSettings,
    "audit": AuditSettings,
    "colmap_sift": ColmapSiftSettings,
    "guided": GuidedSettings,
    "calibration": CalibrationSettings,
    "refinement": RefinementSettings,
    "dense": DenseSettings,
    "reconstruction_truth": ReconstructionTruthSettings,
}
# What a variant of the reconstruction decides instead.
_ELSEWHERE = {"guided": {"by", "ratio", "min_matches"}}


def _config() -> dict[str, Any]:
    return yaml.safe_load((_PROJECT / "config/config.yaml").read_text())


def _schema() -> dict[str, Any]:
    return yaml.safe_load((SCHEMAS / "config.schema.yaml").read_text())["properties"]


def test_default_is_valid_and_complete() -> None:
    config = _config()
    validate_config(config, SCHEMAS / "config.schema.yaml")
    assert set(config) == set(_schema())


@pytest.mark.parametrize("section", _SECTIONS)
def test_section_is_the_settings(section: str) -> None:
    names = {field.name for field in dataclasses.fields(_SECTIONS[section])} - _ELSEWHERE.get(section, set())
    assert set(_config()[section]) == names
    assert set(_schema()[section]["properties"]) == names
    _SECTIONS[section](**_config()[section])


def test_variants_are_the_settings() -> None:
    reconstruction, schema = _config()["reconstruction"], _schema()["reconstruction"]["properties"]
    assert set(schema["variants"]["additionalProperties"]["properties"]) == {field.name for field in dataclasses.fields(Variant)}
    variants = {name: Variant(**keys) for name, keys in reconstruction["variants"].items()}
    assert set(reconstruction["compared"]) <= set(variants)
    assert variants["eth"] == Variant()
    for variant in variants.values():
        SfmSettings(**_config()["sfm"] | variant.sfm)


def test_rendering_section_is_a_preset_and_single_settings() -> None:
    names = {field.name for field in dataclasses.fields(RenderSettings)}
    schema = _schema()["rendering"]["properties"]
    assert set(schema) == names | {"preset"}
    assert schema["preset"]["enum"] == list(PRESETS)
    assert render_settings(_config()["rendering"]) == PRESETS["nersemble"]


def test_detector_sections() -> None:
    keypoints, schema = _config()["keypoints"], _schema()["keypoints"]["properties"]
    for detector, settings in (("pore", PoreSettings), ("psift_reference", ReferenceSettings)):
        names = {field.name for field in dataclasses.fields(settings)} - {"target_count"}
        assert set(keypoints[detector]) == names
        assert set(schema[detector]["properties"]) == names
    make_detector(KeypointSettings(**keypoints), threads=1)


@pytest.mark.parametrize("name", ["rendered", "tracks", "cards", "A", "a/b", "a-b"])
def test_names_of_patch_sets_collide_with_nothing(name: str) -> None:
    sets = {name: {"path": "x", "split": "verification"}}
    with pytest.raises(PorePatchError, match="patch_sets"):
        validate_config(_config() | {"patch_sets": sets}, SCHEMAS / "config.schema.yaml")


@pytest.mark.parametrize("path", sorted((_PROJECT / "config").rglob("*.yaml")), ids=lambda path: path.name)
def test_examples_are_valid(path: Path) -> None:
    config = _config()
    for key, value in yaml.safe_load(path.read_text()).items():
        config[key] = {**config[key], **value} if isinstance(value, dict) else value
    validate_config(config, SCHEMAS / "config.schema.yaml")
