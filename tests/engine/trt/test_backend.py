"""The TensorRT backend up to the GPU: which engine it takes, what it binds, and what it refuses.

`stand_in` plays what needs a GPU. No test here shows an engine executing.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor

from engine.backends import BackendError, BackendRangeError, Side
from engine.backends.eager import EagerBackend
from engine.model.dit import DiT
from engine.trt.files import Built, EngineFileError, Part, record_of
from tests.engine.parts import gaussian, random_backend

pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX has a wheel for Linux on x86-64 alone")

from engine.backends import tensorrt
from engine.trt import runtime, shelf
from tests.engine.trt.stand_in import StandIn

CPU = torch.device("cpu")
FRAMES = 250
ROUNDING = 4e-3


@pytest.fixture(scope="module")
def model() -> DiT:
    return random_backend().model


@pytest.fixture
def folder(engines: dict[str, tuple[Path, Built]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Engines for 8.9 and 12.0, and a GPU of 8.9."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 9))
    for capability in ("8.9", "12.0"):
        for path in (engines[capability][0], record_of(engines[capability][0])):
            shutil.copy(path, tmp_path)
    return tmp_path


@pytest.fixture
def engine(folder: Path) -> Path:
    return next(folder.glob("sm89*.engine"))


@pytest.fixture
def library(
    engines: dict[str, tuple[Path, Built]], tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> StandIn:
    path, built = engines["8.9"]
    stand_in = StandIn(path.parent, built, tmp_path_factory.mktemp("refitted"))
    monkeypatch.setattr(runtime, "library", lambda named: stand_in)
    return stand_in


@pytest.fixture
def backend(model: DiT, folder: Path, library: StandIn) -> tensorrt.TensorRtBackend:
    made = tensorrt.load(model, CPU, folder)
    made.prepare(4, FRAMES, 40)
    return made


def sides(backend: EagerBackend, frames: int = FRAMES) -> list[Side]:
    """Conditions of different lengths, one with a token that is not to be heard."""
    told = [
        Side(gaussian(1, frames, 128, seed=10 + i), backend.keys_values(gaussian(1, 3 + 9 * i, 24, seed=i)), None)
        for i in range(4)
    ]
    mask = torch.zeros(1, 12)
    mask[0, 5] = -torch.inf
    return [told[0], Side(told[1].context, told[1].kv, mask), *told[2:]]


def error(made: Tensor, wanted: Tensor) -> float:
    return ((made - wanted).norm() / wanted.norm()).item()


def change(path: Path, **values: object) -> None:
    """What is known of an engine, with other values."""
    record_of(path).write_text(json.dumps({**json.loads(record_of(path).read_text()), **values}))


TIMES = (0.25, 0.5, 0.75, 1.0)


@pytest.mark.parametrize("rows", [1, 3, 4])
def test_rows_are_bound_padded_and_read_as_the_network_computes_them(
    backend: tensorrt.TensorRtBackend, model: DiT, rows: int
) -> None:
    eager, x = EagerBackend(model), gaussian(rows, FRAMES, 64, seed=1)
    wanted = eager.velocity(x, TIMES[:rows], sides(eager)[:rows])
    made = backend.velocity(x, TIMES[:rows], sides(backend)[:rows])
    assert (made.shape, made.dtype) == (x.shape, torch.float32)
    assert 0 < error(made, wanted) < ROUNDING
    assert backend._runner is not None
    assert backend._runner._context.shapes["x"] == (4, FRAMES, 64)


def test_two_rows_a_slot_are_one_run_as_far_as_the_engine_takes_them(
    backend: tensorrt.TensorRtBackend, model: DiT
) -> None:
    assert backend.most == 8
    x, told = gaussian(7, FRAMES, 64, seed=2), [*sides(backend), *sides(backend)[:3]]
    assert backend._runner is not None
    before = backend._runner._context.runs
    backend.velocity(x, [*TIMES, *TIMES[:3]], told)
    assert backend._runner._context.runs == before + 1
    assert backend._runner._context.shapes["x"] == (8, FRAMES, 64)
    backend.prepare(5, FRAMES, 40)  # the engine takes 8 rows, not 10
    assert backend.most == 8
    assert backend.velocity(x, [*TIMES, *TIMES[:3]], told).shape == x.shape


def test_an_odd_number_of_frames_is_padded_to_a_pair_and_cut_again(
    backend: tensorrt.TensorRtBackend, model: DiT
) -> None:
    eager, x = EagerBackend(model), gaussian(2, FRAMES - 1, 64, seed=3)
    backend.prepare(2, FRAMES - 1, 40)
    made = backend.velocity(x, TIMES[:2], sides(backend, FRAMES - 1)[:2])
    wanted = eager.velocity(x, TIMES[:2], sides(eager, FRAMES - 1)[:2])
    assert made.shape == wanted.shape
    assert error(made, wanted) < ROUNDING


def test_a_velocity_belongs_to_its_caller(backend: tensorrt.TensorRtBackend) -> None:
    x, told = gaussian(1, FRAMES, 64, seed=4), sides(backend)[:1]
    first = backend.velocity(x, [0.5], told)
    kept = first.clone()
    backend.velocity(2 * x, [0.9], told)
    assert torch.equal(first, kept)


def test_torch_keeps_only_what_is_computed_once(backend: tensorrt.TensorRtBackend) -> None:
    there = {name for name, tensor in backend.model.state_dict().items() if tensor.device != torch.device("meta")}
    assert there
    assert all(any(part in name for part in tensorrt.ONCE) for name in there)


def test_one_engine_in_memory_serves_all_who_play_its_network(
    backend: tensorrt.TensorRtBackend, library: StandIn
) -> None:
    twin = backend.retuned({})
    twin.prepare(2, FRAMES, 40)
    assert [engine.contexts for engine in library.loaded] == [3]
    assert twin._runner is not backend._runner


def test_a_lora_is_refitted_into_an_engine_of_its_own(
    model: DiT, folder: Path, engine: Path, library: StandIn
) -> None:
    change(engine, refit=True)
    backend = tensorrt.load(model, CPU, folder)
    backend.prepare(2, FRAMES, 40)
    state = model.state_dict()
    names = ("layers.0.self_attn.qkv.weight", "layers.1.mlp.down.weight", "layers.1.cross_attn.kv.weight")
    changed = {name: state[name] + 0.1 * gaussian(*state[name].shape, seed=9) for name in names}
    twin, eager = backend.retuned(changed), EagerBackend(model.retuned(changed))
    x = gaussian(2, FRAMES, 64, seed=5)
    made = twin.velocity(x, TIMES[:2], sides(twin)[:2])
    assert error(made, eager.velocity(x, TIMES[:2], sides(eager)[:2])) < ROUNDING
    before = EagerBackend(model)
    assert error(made, before.velocity(x, TIMES[:2], sides(before)[:2])) > 10 * ROUNDING
    old = backend.velocity(x, TIMES[:2], sides(backend)[:2])
    assert error(old, before.velocity(x, TIMES[:2], sides(before)[:2])) < ROUNDING
    assert len(library.loaded) == 2
    again = twin.retuned({names[1]: state[names[1]]})  # on top of what was changed before
    eager = EagerBackend(model.retuned({**changed, names[1]: state[names[1]]}))
    made = again.velocity(x, TIMES[:2], sides(again)[:2])
    assert error(made, eager.velocity(x, TIMES[:2], sides(eager)[:2])) < ROUNDING


def test_an_engine_that_cannot_be_refitted_takes_what_torch_has_and_refuses_the_rest(
    backend: tensorrt.TensorRtBackend, model: DiT, library: StandIn
) -> None:
    state = model.state_dict()
    name = "layers.0.cross_attn.kv.weight"
    twin = backend.retuned({name: 2 * state[name]})
    assert len(library.loaded) == 1
    states = gaussian(1, 5, 24, seed=1)
    assert torch.equal(twin.keys_values(states)[0, 1], 2 * backend.keys_values(states)[0, 1])
    with pytest.raises(BackendRangeError, match=r"built without refitting.*build --refit.*or choose"):
        backend.retuned({"layers.0.mlp.down.weight": state["layers.0.mlp.down.weight"]})
    with pytest.raises(ValueError, match="the network has no weight"):
        backend.retuned({"layers.9.mlp.down.weight": state["layers.0.mlp.down.weight"]})


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ((9, FRAMES, 40), "takes 1 to 8 rows in a batch, not 9"),
        ((4, 500, 40), "takes 250 to 250 latent frames, not 500"),
        ((4, FRAMES, 1025), "takes 1 to 1024 condition tokens, not 1025"),
    ],
)
def test_sizes_that_no_engine_takes_are_refused_and_change_nothing(
    backend: tensorrt.TensorRtBackend, sizes: tuple[int, int, int], words: str
) -> None:
    before = backend._runner
    with pytest.raises(BackendRangeError, match=words):
        backend.prepare(*sizes)
    assert backend._runner is before


def test_of_several_engines_one_that_fits_is_taken(model: DiT, folder: Path, engine: Path, library: StandIn) -> None:
    narrow = engine.with_name("narrow.engine")
    shutil.copy(engine, narrow)
    shutil.copy(record_of(engine), record_of(narrow))
    change(narrow, ranges={"batch": [1, 1, 2], "frames": [250, 250, 250], "length": [1, 40, 40]})
    backend = tensorrt.load(model, CPU, folder)
    for batch, most in ((2, 2), (4, 8)):
        backend.prepare(batch, FRAMES, 40)
        assert backend.most == most
    assert len(library.loaded) == 2


def test_a_gpu_for_which_there_is_no_engine_is_told_how_to_get_one(
    model: DiT, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BackendError, match=r"no TensorRT engine of the dit .* engine export.*--capability 8\.9"):
        tensorrt.load(model, CPU, tmp_path / "none")
    other = model.retuned({"proj_in.bias": model.state_dict()["proj_in.bias"] + 1})
    with pytest.raises(BackendError, match=r"no TensorRT engine of the dit of this checkpoint.*or choose"):
        tensorrt.load(other, CPU, folder)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    with pytest.raises(BackendError, match=r"compute capability 12\.0, 8\.9, and here is 9\.0"):
        tensorrt.load(model, CPU, folder)


def test_an_engine_of_another_tensorrt_or_a_damaged_one_is_refused(model: DiT, folder: Path, engine: Path) -> None:
    backend = tensorrt.load(model, CPU, folder)
    change(engine, tensorrt="tensorrt_rtx 1.0")
    with pytest.raises(BackendError, match=r"was built by tensorrt_rtx 1\.0, and here is tensorrt_rtx 1\.\d"):
        backend.prepare(1, FRAMES, 40)
    engine.write_bytes(b"no engine")
    with pytest.raises(BackendError, match="is not the file that was built"):
        tensorrt.load(model, CPU, folder).prepare(1, FRAMES, 40)


def test_without_a_gpu_the_real_library_refuses_an_engine_and_its_reason_is_passed_on(
    model: DiT, folder: Path
) -> None:
    with pytest.raises(BackendError, match=r"TensorRT cannot load the engine of the dit: .*(CUDA|Cuda)"):
        tensorrt.load(model, CPU, folder).prepare(1, FRAMES, 40)


def test_an_engine_that_is_not_as_its_metadata_says_is_refused(
    model: DiT, folder: Path, engine: Path, library: StandIn
) -> None:
    inputs = json.loads(record_of(engine).read_text())["inputs"]
    for wrong in ({**inputs, "kv": {**inputs["kv"], "dtype": "float"}}, {**inputs, "y": inputs["x"]}):
        change(engine, inputs=wrong)
        with pytest.raises(BackendError, match="is not as its metadata says"):
            tensorrt.load(model, CPU, folder).prepare(1, FRAMES, 40)
    change(engine, inputs={**inputs, "x": {**inputs["x"], "shape": [-1, -1, 65]}})
    with pytest.raises(BackendError, match="is not as its metadata says"):
        tensorrt.load(model, CPU, folder).prepare(1, FRAMES, 40)


def test_an_engine_that_does_not_load_says_why(model: DiT, folder: Path, library: StandIn) -> None:
    library.refuse = True
    with pytest.raises(BackendError, match="TensorRT cannot load the engine of the dit: no room on the GPU"):
        tensorrt.load(model, CPU, folder).prepare(1, FRAMES, 40)


@pytest.fixture
def runner(folder: Path, engine: Path, library: StandIn) -> runtime.Runner:
    built = Built.read(record_of(engine))
    return shelf.find(folder, Part.DIT, built.weights, "8.9", CPU).runner({"batch": 1, "frames": 250, "length": 1})


def test_what_lies_crosswise_in_memory_or_in_another_type_is_bound_as_the_engine_wants_it(
    runner: runtime.Runner, model: DiT
) -> None:
    x, context = gaussian(2, FRAMES, 64, seed=6), gaussian(2, FRAMES, 128, seed=7)
    kv, rows = model.keys_values(gaussian(2, 5, 24, seed=8)), model.modulation(torch.tensor([0.2, 0.7]))
    mask = torch.zeros(2, 5)
    crosswise = x.transpose(1, 2).contiguous().transpose(1, 2)
    made = runner(x=crosswise.double(), rows=rows, context=context, kv=kv, mask=mask)
    assert error(made, model(x, rows, context, kv, mask)) < ROUNDING


def test_a_shape_outside_of_the_profile_is_named(runner: runtime.Runner) -> None:
    with pytest.raises(ValueError, match=r"takes no x of \[1, 248, 64\]"):
        runner(x=gaussian(1, 248, 64, seed=1))


def test_a_library_that_is_none_of_tensorrts_is_not_imported() -> None:
    with pytest.raises(EngineFileError, match="subprocess 1 is no TensorRT"):
        runtime.library("subprocess 1")
    with pytest.raises(EngineFileError, match=r"tensorrt 10 is not here .*pip install"):
        runtime.library("tensorrt 10")
