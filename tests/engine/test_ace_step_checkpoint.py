"""A whole ACE-Step checkpoint on disk: it plays, and what is wrong with one is said."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import soundfile
import torch

from engine import CheckpointError, Knobs, Session
from engine.ace_step import AceStepConditioner
from engine.conditioning import Prompt, load_conditioner
from engine.offline import VirtualPort

CPU = torch.device("cpu")
PROMPT = "ambient, 100 bpm, a minor, 4/4"


@pytest.fixture(scope="module")
def one_second(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """25 frames, an odd number."""
    path = tmp_path_factory.mktemp("source") / "hum.wav"
    seconds = np.arange(48_000) / 48_000
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * 220 * seconds)[:, None].repeat(2, 1), 48_000)
    return path


def test_a_whole_checkpoint_plays(tiny: Path, one_second: Path) -> None:
    stages: list[str] = []
    session = Session(
        checkpoint=tiny,
        source=one_second,
        device="cpu",
        threads=1,
        progress=lambda stage, share: stages.append(stage),
    )
    try:
        assert session.model_name == "tiny-turbo"
        assert session.frames == 25
        assert list(dict.fromkeys(stages))[2:6] == [
            "text encoder",
            "conditioner",
            "audio tokenizer",
            "audio token detokenizer",
        ]
        knobs = Knobs(denoise=0.8, hint_strength=0.7)
        heard = session.render(0.5, knobs)
        assert heard.shape == (24_000, 2)
        assert np.isfinite(heard).all()
        assert np.abs(heard).max() > 0
        assert np.array_equal(session.render(0.5, knobs), heard)
        assert not np.array_equal(session.render(0.5, Knobs(denoise=0.8, hint_strength=0.0)), heard)

        session.attach(port := VirtualPort())
        session.step(knobs)
        done = session.request_prompt("a", "techno, 140.5 bpm")
        deadline = time.monotonic() + 20
        while not done.done() and time.monotonic() < deadline:
            session.step(knobs)
        assert done.result(timeout=0) == "140.5 bpm was read as 141, as the model takes whole numbers"
        assert not np.array_equal(session.render(0.5, knobs), heard)
        assert np.isfinite(port.loop).all()
    finally:
        session.close()


def test_all_that_is_missing_is_said_at_once(copy: Path, one_second: Path) -> None:
    shutil.rmtree(copy / "text_encoder")
    shutil.rmtree(copy / "tokenizer")
    (copy / "condition_encoder" / "diffusion_pytorch_model.safetensors").unlink()
    (copy / "transformer" / "diffusion_pytorch_model.safetensors").unlink()
    index = {"weight_map": {"a": "part-1.safetensors"}}
    (copy / "transformer" / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    stages: list[str] = []
    with pytest.raises(CheckpointError) as caught:
        Session(checkpoint=copy, source=one_second, progress=lambda stage, share: stages.append(stage))
    message = str(caught.value)
    assert message.startswith(f"{copy} is no whole checkpoint")
    for fault in (
        "text_encoder/config.json is missing",
        "tokenizer/tokenizer.json is missing",
        "condition_encoder holds no diffusion_pytorch_model.safetensors",
        "transformer/part-1.safetensors is missing",
    ):
        assert fault in message
    assert "vae" not in message
    assert not stages  # before anything was loaded


@pytest.mark.parametrize("part", ["text_encoder", "condition_encoder", "audio_tokenizer"])
def test_a_pickle_is_refused(copy: Path, part: str) -> None:
    (weights,) = (copy / part).glob("*.safetensors")
    pickle = copy / part / "pytorch_model.bin"
    torch.save({}, pickle)
    weights.unlink()
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin is a pickle, which is never opened"):
        Session(checkpoint=copy)
    shutil.copy(pickle, weights)
    with pytest.raises(CheckpointError, match="is no whole safetensors file"):
        load_conditioner(copy, CPU)


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("part", "changes", "message"),
    [
        ("transformer", {"encoder_hidden_size": 40}, "takes conditions of width 40"),
        ("text_encoder", {"model_type": "bert"}, "does not describe a qwen3 model of width 24"),
        ("text_encoder", {"hidden_size": 16}, "does not describe a qwen3 model of width 24"),
        ("text_encoder", {"vocab_size": 100}, "do not fit its config.json"),
        ("text_encoder", {"num_hidden_layers": "many"}, "cannot be used"),
        ("condition_encoder", {"hidden_size": "wide"}, "does not fit together"),
        ("condition_encoder", {"intermediate_size": 50}, "do not fit its config.json"),
        ("condition_encoder", {"_class_name": "Elsewhere"}, "demond knows AceStepConditionEncoder"),
        ("audio_tokenizer", {"num_attention_pooler_hidden_layers": 3}, "do not fit its config.json"),
    ],
)
def test_parts_that_do_not_fit_are_named(copy: Path, part: str, changes: dict[str, Any], message: str) -> None:
    edit(copy / part / "config.json", **changes)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_conditioner(copy, CPU)
    assert str(copy) in str(caught.value)


def test_a_broken_tokenizer_is_named(copy: Path) -> None:
    (copy / "tokenizer" / "tokenizer.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"tokenizer\.json cannot be read as a tokenizer"):
        load_conditioner(copy, CPU)


def test_a_checkpoint_that_asks_for_code_or_another_kernel_gets_neither(copy: Path) -> None:
    (copy / "text_encoder" / "evil.py").write_text("raise SystemExit('code of the checkpoint was run')")
    edit(
        copy / "text_encoder" / "config.json",
        auto_map={"AutoModel": "evil.Model"},
        _attn_implementation="someone/kernel",
        attn_implementation="someone/kernel",
    )
    conditioner = load_conditioner(copy, CPU)
    assert isinstance(conditioner, AceStepConditioner)
    assert conditioner._text_encoder.config._attn_implementation == "sdpa"


def test_no_network_is_asked_for(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def refuse(*arguments: Any, **options: Any) -> NoReturn:
        asked.append(arguments)
        raise OSError("there is no network in this test")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    load_conditioner(tiny, CPU).encode(Prompt(PROMPT))
    assert asked == []


def test_missing_libraries_are_said_with_the_command_that_brings_them(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    for use in (lambda: Session(checkpoint=tiny), lambda: load_conditioner(tiny, CPU)):
        with pytest.raises(CheckpointError, match=r"pip install 'demond\[gpu\]'"):
            use()


def test_the_built_in_model_needs_neither_library() -> None:
    program = (
        "import sys, torch, engine.conditioning as c, engine.embedded as e, engine\n"
        "c.load_conditioner(e.CHECKPOINT, torch.device('cpu')).encode(c.Prompt('house'))\n"
        "print([name for name in ('diffusers', 'transformers', 'tokenizers') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
