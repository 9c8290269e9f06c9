"""Trained networks as ONNX: what other programs compute is what PyTorch computes, and the file says what it is."""

from __future__ import annotations

import logging
import sys
import warnings
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from safetensors.torch import save_file

from porepatch_lib.__main__ import main
from porepatch_lib.descriptors.networks import build_network, load_network, network_class, network_names
from porepatch_lib.descriptors.onnx_export import export_onnx
from porepatch_lib.errors import PorePatchError
from porepatch_lib.files import write_json

SMALL = """
import torch
from torch import nn
from porepatch_lib.descriptors.network import DescriptorNetwork

class Small(DescriptorNetwork):
    dimension, normalisation = 8, "divided by 255"

    def __init__(self, dropout: float = 0.5) -> None:
        super().__init__()
        self.layer = nn.Sequential(nn.Dropout(dropout), nn.Conv2d(1, 8, 32), nn.BatchNorm2d(8))

    def features(self, patches):
        return self.layer(patches / 255).flatten(1)

class Looking(Small):
    def features(self, patches):
        return super().features(patches) if float(patches.sum()) > 0 else super().features(patches + 1)
"""


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def small(tmp_path, monkeypatch) -> Path:
    """Weights of a user's own network `small`, in a module that can be imported."""
    (tmp_path / "small_networks.py").write_text(SMALL)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "small_networks", raising=False)
    return written("small", tmp_path / "small.safetensors", {"small": "small_networks:Small"})


def written(name: str, path: Path, networks=None) -> Path:
    """Weights with no tensor at its initial value, so that a swapped or forgotten one shows, and settled batch norms."""
    torch.manual_seed(0)
    network = build_network(name, networks).train()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.1 * parameter.abs().mean() * torch.randn_like(parameter)
        for module in network.modules():
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                module.momentum = 0.9
        network(torch.from_numpy(patches_of(network.patch_side, 16)))
    save_file(network.state_dict(), path, {"architecture": name})
    return path


def patches_of(side: int, count: int) -> np.ndarray:
    """Patches (count,1,side,side) float32 of whole grey values, smooth as skin is."""
    noise = np.random.default_rng(count).integers(0, 256, (count, side, side)).astype(np.uint8)
    blurred = [cv2.normalize(cv2.GaussianBlur(patch, (0, 0), 1.5), None, 5, 250, cv2.NORM_MINMAX) for patch in noise]
    return np.stack(blurred)[:, None].astype(np.float32)


def one_name_of_each_class() -> list[str]:
    return list({network_class(name): name for name in reversed(network_names())}.values())


@pytest.mark.parametrize("name", one_name_of_each_class())
def test_other_programs_compute_the_same(tmp_path, name):
    weights, output = written(name, tmp_path / f"{name}.safetensors"), tmp_path / f"{name}.onnx"
    export_onnx(weights, output)
    network = load_network(weights)
    session = onnxruntime.InferenceSession(output, providers=["CPUExecutionProvider"])
    opencv = cv2.dnn.readNetFromONNX(str(output))
    assert [value.shape for value in session.get_inputs()] == [["N", 1, network.patch_side, network.patch_side]]
    assert [value.shape for value in session.get_outputs()] == [["N", network.dimension]]
    for count in (1, 7):
        patches = patches_of(network.patch_side, count)
        with torch.inference_mode():
            expected = network(torch.from_numpy(patches)).numpy()
        (found,) = session.run(["descriptors"], {"patches": patches})
        np.testing.assert_allclose(found, expected, atol=1e-5)
        opencv.setInput(patches)
        np.testing.assert_allclose(opencv.forward(), expected, atol=1e-5)
        assert count == 1 or np.ptp(expected, axis=0).max() > 1e-2


def test_the_file_says_what_it_is_and_nothing_of_this_machine(tmp_path, small, caplog, capfd):
    networks, output = {"small": "small_networks:Small"}, tmp_path / "deeper/small.onnx"
    facts = {"architecture": "small", "patch_side": "32", "dimension": "8", "normalisation": "divided by 255"}
    with warnings.catch_warnings(), caplog.at_level(logging.WARNING):
        warnings.simplefilter("error")
        export_onnx(small, output, networks)
    assert (caplog.text, *capfd.readouterr()) == ("", "", "")
    model, first = onnx.load(output), output.read_bytes()
    assert {entry.key: entry.value for entry in model.metadata_props} == facts
    assert [entry.version for entry in model.opset_import] == [18]
    assert {node.op_type for node in model.graph.node}.isdisjoint({"Dropout", "If", "Loop"})
    assert b".py" not in first
    write_json(tmp_path / "small.json", {"crop_factor": 24.0})
    export_onnx(small, output, networks)
    model = onnx.load(output)
    assert {entry.key: entry.value for entry in model.metadata_props} == facts | {"crop_factor": "24.0"}
    del model.metadata_props[-1]
    assert model.SerializeToString() == first
    assert [path.name for path in output.parent.iterdir()] == ["small.onnx"]


def test_what_cannot_be_exported_is_a_user_error_and_leaves_no_file(tmp_path, small):
    networks = {"small": "small_networks:Looking"}
    with pytest.raises(PorePatchError, match=r"small\.safetensors cannot be exported to ONNX"):
        export_onnx(small, tmp_path / "small.onnx", networks)
    (tmp_path / "small.json").write_text("{}")
    with pytest.raises(PorePatchError, match=r"small\.json gives no crop_factor"):
        export_onnx(small, tmp_path / "small.onnx", {"small": "small_networks:Small"})
    assert not list(tmp_path.glob("*.onnx"))


def test_published_weights_are_exported_from_the_command_line(tmp_path, shared, capsys):
    published, output = str(shared / "weights/tfeat-liberty.safetensors"), str(tmp_path / "tfeat.onnx")
    assert main(["export-onnx", published, output]) == 1
    assert "do not name their architecture" in capsys.readouterr().err
    assert main(["export-onnx", published, output, "--architecture", "tfeat"]) == 0
    assert capsys.readouterr().out == f"Wrote {output}.\n"
    session = onnxruntime.InferenceSession(output, providers=["CPUExecutionProvider"])
    with np.load(shared / "reference/descriptors/nets/tfeat_liberty_io.npz") as expected:
        with np.load(shared / "reference/descriptors/nets/patches.npz") as given:
            found = session.run(None, {"patches": given["patches32"]})[0]
        np.testing.assert_allclose(found, expected["desc_eval"], atol=2e-5)
