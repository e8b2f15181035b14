"""A rig whose network and decoder are engines, as far as that goes without a GPU (`stand_in`)."""

from __future__ import annotations

import shutil
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from engine import BackendError, BackendRangeError, Knobs, Prompt
from engine.backends import choose
from engine.backends.eager import EagerBackend
from engine.curves import Curves
from engine.geometry import HOP
from engine.rig import Builder, Rig, Setup, Silence
from engine.stream import generate
from engine.trt.export import export
from engine.trt.files import Built, Exported, Part, Precision, record_of
from engine.trt.graphs import load_graph
from engine.vae import Vae
from tests.engine.parts import gaussian
from tests.engine.trt.conftest import tiny_oobleck_vae

pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX has a wheel for Linux on x86-64 alone")

from engine.backends import tensorrt
from engine.trt import runtime
from tests.engine.trt.stand_in import StandIn, written

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 9))
    monkeypatch.setattr(choose, "_tensorrt", lambda model, device, engines: tensorrt.load(model, device, engines))


def play_by(library: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "library", lambda named: library)


def generated(rig: Rig) -> torch.Tensor:
    """One latent of the loop, at default knobs."""
    curves = Curves(rig.frames, CPU)
    with torch.inference_mode():
        return generate(rig.backend, rig.latents, rig.new_guides().at(Knobs(), curves), curves, Knobs(), 4)


@pytest.fixture(scope="module")
def network(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Built]:
    """An engine of a tiny ACE-Step, for loops of two seconds."""
    folder = tmp_path_factory.mktemp("engines") / "tiny" / "dit-fp16"
    exported = export(load_graph(tiny, Part.DIT, Precision.FP16), folder, "tiny")
    return written(folder, exported, "8.9", {"batch": (1, 2, 4), "frames": (50, 50, 50), "length": (1, 64, 256)})


def test_a_rig_plays_through_an_engine_what_it_plays_through_torch(
    tiny: Path, two_seconds: Path, network: tuple[Path, Built], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, built = network
    library = StandIn(path.parent, built, tmp_path)
    play_by(library, monkeypatch)
    setup = Setup(tiny, two_seconds, prompts={"a": Prompt("house, 120 bpm")}, depth=2, steps=4)
    builder = Builder(CPU, torch.float32, 1, backend="tensorrt", engines=path.parent)
    rig = builder.build(setup)
    assert rig.backend.name == "tensorrt"
    eager = EagerBackend(rig.model.transformer)
    made, wanted = generated(rig), generated(replace(rig, backend=eager, tuned=eager))
    assert 0 < (made - wanted).norm() < 0.02 * wanted.norm()
    assert [engine.contexts for engine in library.loaded] == [1]
    with pytest.raises(BackendRangeError, match="takes 1 to 4 rows in a batch, not 8"):
        builder.build(replace(setup, depth=8), rig)
    with pytest.raises(BackendRangeError, match="takes 50 to 50 latent frames, not 100"):
        builder.build(replace(setup, source=Silence(4.0)), rig)
    longer = builder.build(setup.with_prompt("a", Prompt("ambient, slow, 60 bpm, with a long description")), rig)
    assert longer.backend is not rig.backend
    assert [engine.contexts for engine in library.loaded] == [2]
    assert torch.equal(generated(rig), made)


@pytest.fixture
def decoding(
    exported_decoder: tuple[Path, Exported], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, Vae, StandIn]:
    folder = Path(shutil.copytree(exported_decoder[0], tmp_path / "decoder"))
    for engine in folder.glob("*.engine"):
        engine.unlink()
    path, built = written(folder, exported_decoder[1], "8.9", {"batch": (1, 1, 1), "frames": (2, 28, 40)})
    library = StandIn(folder, built, tmp_path)
    play_by(library, monkeypatch)
    return path, tiny_oobleck_vae(), library


def test_windows_that_the_engine_takes_are_decoded_by_it_and_others_by_torch(
    decoding: tuple[Path, Vae, StandIn],
) -> None:
    path, vae, library = decoding
    own = choose.choose_vae("tensorrt", lambda: vae, CPU, path.parent)
    assert (own.reach, own.encoder_reach) == (vae.reach, vae.encoder_reach)
    assert own.state_dict().keys() == vae.state_dict().keys()
    (engine,) = library.loaded
    for frames, by_torch in ((28, False), (2, False), (41, True), (1, True)):
        latents = gaussian(frames, 64, seed=frames)
        made, wanted = own.decode(latents), vae.decode(latents)
        assert made.shape == (2, frames * HOP)
        assert torch.equal(made, wanted) == by_torch
        assert (made - wanted).norm() < 4e-3 * wanted.norm()
    audio = gaussian(2, 4 * HOP, seed=1)
    assert torch.equal(own.encode(audio), vae.encode(audio))
    assert engine.contexts == 1


def test_threads_that_decode_at_once_get_each_their_own(decoding: tuple[Path, Vae, StandIn]) -> None:
    path, vae, _ = decoding
    own = choose.choose_vae("tensorrt", lambda: vae, CPU, path.parent)
    pieces = [gaussian(4 + row, 64, seed=row) for row in range(4)]
    made: dict[int, torch.Tensor] = {}

    def decode(row: int) -> None:
        for _ in range(5):
            made[row] = own.decode(pieces[row])

    threads = [threading.Thread(target=decode, args=(row,)) for row in range(len(pieces))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for row, piece in enumerate(pieces):
        assert (made[row] - vae.decode(piece)).norm() < 4e-3 * made[row].norm()


def test_without_an_engine_of_the_decoder_torch_decodes_and_a_damaged_one_is_refused(
    decoding: tuple[Path, Vae, StandIn], tmp_path: Path
) -> None:
    path, vae, _ = decoding
    assert choose.choose_vae("tensorrt", lambda: vae, CPU, tmp_path / "none") is vae
    assert choose.choose_vae("graph", lambda: vae, CPU, path.parent) is vae
    path.write_bytes(b"other")
    with pytest.raises(BackendError, match="is not the file that was built"):
        choose.choose_vae("tensorrt", lambda: vae, CPU, path.parent)
    record_of(path).unlink()
    assert choose.choose_vae("tensorrt", lambda: vae, CPU, path.parent) is vae
