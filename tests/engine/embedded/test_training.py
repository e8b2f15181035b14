"""Training: batches compute what the engine computes, and a few steps leave a checkpoint that plays."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import AceStepTransformer1DModel

from engine import embedded
from engine.conditioning import Prompt, load_conditioner
from engine.embedded.front import TagConditioner
from engine.embedded.gate.player import Player
from engine.embedded.gate.rows import HARMONY, Row, _at_least, _at_most
from engine.embedded.training import dit, vae
from engine.embedded.training.anchor import Anchor
from engine.embedded.training.bank import Bank
from engine.embedded.training.common import read_state
from engine.embedded.training.conditions import Vocabulary, fit_hints, hints, states
from engine.embedded.training.export import diffusers_tensors
from engine.embedded.training.held_out import better, margins
from engine.embedded.training.losses import Reconstruction
from engine.model.checkpoint import check_checkpoint, load_transformer, tensor_shapes
from engine.model.dit import DiT
from tests.engine.parts import SIZES, gaussian

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def front() -> TagConditioner:
    front = load_conditioner(embedded.CHECKPOINT, CPU)
    assert isinstance(front, TagConditioner)
    return front


@torch.inference_mode()
def test_tokens_in_a_batch_are_those_of_the_text(front: TagConditioner) -> None:
    texts = ["techno, 131.5 bpm, f# phrygian, dark, busy, driving, dry", "lofi", "90 bpm"]
    words = [
        ["techno", "root f#", "mode phrygian", "dark", "busy", "driving", "dry"],
        ["lofi", *["<null>"] * 6],
        ["<null>"] * 7,
    ]
    rows = torch.tensor([[front.vocabulary.index(word) for word in line] for line in words])
    batch = states(front, rows, torch.tensor([131.5, 0.0, 90.0]))
    for text, tokens in zip(texts, batch, strict=True):
        assert (front.encode(Prompt(text)).states[0] - tokens).abs().max() < 1e-4


@torch.inference_mode()
def test_hints_in_a_batch_are_those_of_the_engine(front: TagConditioner) -> None:
    latents = gaussian(2, 53, 64, seed=1)
    assert (hints(front, latents)[1] - front.hint(latents[1])).abs().max() < 1e-5


def test_fitted_hints_keep_what_two_renderings_share_and_lose_the_rest() -> None:
    front = load_conditioner(embedded.CHECKPOINT, CPU)
    assert isinstance(front, TagConditioner)
    shared, own = gaussian(60, 50, 16, seed=1), gaussian(2, 60, 50, 48, seed=2)
    shared = shared.repeat_interleave(5, 1)[:, :50]  # slow enough for the pooling
    a, b = (torch.cat((shared, noise), -1) for noise in own)
    correlations = fit_hints(front, a, b)
    assert min(correlations[:8]) > 0.8
    other = torch.cat((shared, gaussian(60, 50, 48, seed=9)), -1)
    assert (hints(front, other) - hints(front, a)).square().mean() < hints(front, a).square().mean() / 4


def test_the_vocabulary_labels_pieces(front: TagConditioner) -> None:
    from engine.embedded.music import Request, compose

    piece = compose(Request("trap", root=3, mode="minor", brightness=2, density=0, energy=1, space=2), 1, 2.0)
    label = Vocabulary(front.vocabulary, CPU).label(piece)
    assert [front.vocabulary[row] for row in label[1:]] == [
        "root d#", "mode minor", "bright", "sparse", "steady", "spacious",
    ]  # fmt: skip
    rows = Vocabulary(front.vocabulary, CPU).rows(torch.tensor([label] * 200), torch.zeros(7))
    assert {front.vocabulary[row] for row in rows[:, 0].tolist()} > {"trap", "phonk"}


def test_exported_tensors_are_diffusers_and_load_back_the_same(tmp_path: Path) -> None:
    model = DiT(SIZES)
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            parameter.copy_(gaussian(*parameter.shape, seed=number) * 0.1)
        model.proj_out.bias.copy_(model.proj_out.bias.view(2, -1)[0].repeat(2))
    tensors = diffusers_tensors(model)
    assert {name: tuple(t.shape) for name, t in tensors.items()} == tensor_shapes(SIZES)
    again = DiT(SIZES)
    again.load_state_dict(dict(tensors))
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name


def test_training_from_nothing_begins_with_a_quiet_network_that_learns(front: TagConditioner) -> None:
    model = DiT(SIZES)
    dit.initialise(model)
    dit.tie_output_bias(model)
    model.time_embed_r.requires_grad_(False)
    x, context, condition = (gaussian(2, n, c, seed=s) for n, c, s in ((20, 64, 1), (20, 128, 2), (9, 24, 3)))
    v = model(x, model.modulation(torch.tensor([0.3, 0.9])), context, model.keys_values(condition))
    assert v.square().mean() < 0.1
    (v - x).square().mean().backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)
    halves = model.proj_out.bias.grad
    assert halves is not None
    assert torch.equal(halves[:64], halves[64:])


def test_diffusers_computes_the_same_from_the_shipped_transformer() -> None:
    reference = AceStepTransformer1DModel.from_pretrained(
        embedded.CHECKPOINT, subfolder="transformer", torch_dtype=torch.float32
    ).eval()
    model = load_transformer(embedded.CHECKPOINT, CPU, torch.float32)
    x, context, condition = (gaussian(1, n, c, seed=s) for n, c, s in ((60, 64, 1), (60, 128, 2), (9, 256, 3)))
    t = torch.tensor([0.7])
    with torch.inference_mode():
        ours = model(x, model.modulation(t), context, model.keys_values(condition))
        theirs = reference(x, t, t, condition, context, return_dict=False)[0]
    assert (ours - theirs).abs().max() < 1e-3


def test_the_reconstruction_loss_prefers_the_original() -> None:
    loss = Reconstruction(compiled=False)
    x = 0.1 * gaussian(1, 2, 24_000, seed=3)
    assert loss(x, x) < 1e-3
    assert loss(0.5 * x, x) > loss(0.9 * x, x) > 0.01


def test_a_bank_knows_which_clips_are_the_generators_own() -> None:
    bank = Bank(4, 1.0, 7, CPU, outside=0.5, tiny=True)
    try:
        bank.renew(4)
        crops = bank.crops(64, 12)
    finally:
        bank.close()
    assert crops.audio.shape == (64, 2, 12 * 1920)
    assert crops.audio.isfinite().all()
    assert 0 < int(crops.music.sum()) < 64
    assert bank.next_seed >= 9


def test_an_anchor_pulls_music_back_leaves_other_sounds_alone_and_steers_itself() -> None:
    anchor = Anchor(vae.loaded(embedded.CHECKPOINT, CPU), drift=0.03)
    deviation = anchor.vae.latent_deviation
    kept = anchor.vae.latent_mean + gaussian(2, 10, 64, seed=1) * deviation
    means = (kept + 0.3 * deviation).requires_grad_()
    music = torch.tensor([True, False])
    first = anchor.loss(means, kept, music)
    first.backward()  # type: ignore[no-untyped-call]
    assert float(anchor.moved) == pytest.approx(0.3, abs=1e-3)
    assert means.grad is not None
    assert (means.grad[0] > 0).all()
    assert not means.grad[1].any()
    assert anchor.loss(means, kept, music) > first  # ten times too far: the weight grows
    for _ in range(30):
        anchor.loss(kept, kept, music)
    assert anchor.loss(means, kept, music) < first
    assert anchor.loss(3 * kept, kept, ~music) > anchor.loss(kept, kept, ~music)


@torch.inference_mode()
def test_an_anchor_says_how_far_the_latents_of_music_have_moved() -> None:
    anchor, moved = Anchor(vae.loaded(embedded.CHECKPOINT, CPU), 0.03), vae.loaded(embedded.CHECKPOINT, CPU)
    clips = 0.1 * gaussian(2, 2, 19_200, seed=4)
    assert anchor.compare(moved, clips).worst_channel == 0
    moved.encoder.output.bias[3] += 0.8 * moved.latent_deviation[3]
    found = anchor.compare(moved, clips)
    assert found.worst_channel == pytest.approx(0.8, abs=1e-3)
    assert found.rms == pytest.approx(0.1, abs=1e-3)


def test_the_better_codec_has_more_harmony_and_loses_nothing_else() -> None:
    def rows(harmony: float, mel: float) -> list[Row]:
        return [_at_most("mel", mel, 0.25), _at_least(HARMONY, harmony, 0.8), Row("kinds", "", "", None, {})]

    start = rows(0.7, 0.15)
    assert margins(start) == pytest.approx({"mel": 0.4, HARMONY: -0.125})
    assert better(rows(0.75, 0.16), start, start)
    assert not better(rows(0.75, 0.18), start, start)
    assert not better(rows(0.75, 0.14), rows(0.76, 0.16), start)


def test_the_energy_of_bands_forgives_other_noise_and_misses_what_is_left_out() -> None:
    noise, other = 0.1 * gaussian(2, 1, 2, 24_000, seed=5)
    plain, strict = Reconstruction(compiled=False), Reconstruction(compiled=False, energy=1.0)
    assert 0 < strict(other, noise) - plain(other, noise) < 0.2
    assert strict(0.1 * other, noise) - plain(0.1 * other, noise) > 1.5


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_codec_learns_at_an_anchor_and_goes_on_with_its_critic(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, inside = tmp_path / "run", str(embedded.CHECKPOINT)
    common = ["--tiny", "--minutes", "60", "--steps", "2", "--anchor", inside, "--critic-from", "0"]
    vae.main([*common, "--init", inside, "--out", str(out)])
    check = vae.loaded(out / "last", CPU)
    start = vae.loaded(embedded.CHECKPOINT, CPU)
    assert torch.equal(check.latent_deviation, start.latent_deviation)
    for half in ("encoder", "decoder"):
        changed, before = getattr(check, half).state_dict(), getattr(start, half).state_dict()
        assert any(not torch.equal(changed[name], before[name]) for name in before), half
    begun = vae.loaded(out, CPU)
    vae.main([*common, "--keep-decoder", "--init", str(out), "--out", str(out)])
    resumed = vae.loaded(out / "last", CPU)
    for name, tensor in begun.decoder.state_dict().items():
        assert torch.equal(resumed.decoder.state_dict()[name], tensor), name
    assert any(not torch.equal(resumed.encoder.state_dict()[n], t) for n, t in begun.encoder.state_dict().items())
    said = capsys.readouterr().out
    assert said.count("latents of music moved by") == 4
    assert "moved by 0.0000 deviations" in said
    assert f"with the critic of {out}" in said
    assert HARMONY in said


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_few_steps_of_both_programs_leave_a_checkpoint_that_plays_and_resumes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    common = ["--tiny", "--minutes", "60", "--out", str(out)]
    vae.main([*common, "--steps", "2", "--critic-from", "1", "--init", str(embedded.CHECKPOINT)])
    vae.main([*common, "--steps", "2", "--critic-from", "0", "--init", str(out)])
    dit.main([*common, "--steps", "2", "--init", str(embedded.CHECKPOINT), "--vae", str(out)])
    check_checkpoint(out)
    assert read_state(out)["dit_steps"] == 2
    dit.main([*common, "--steps", "1", "--resume", str(out)])
    assert read_state(out)["dit_steps"] == 3
    said = capsys.readouterr().out
    for measure in ("own files: voice", "text to music in 4: tempo", "covers: rhythm"):
        assert measure in said
    player = Player.load(out, CPU)
    with torch.inference_mode():
        z = player.sample(["house, 120 bpm"], player.context(None, 1, 50), [1], steps=2)
        assert player.decode(z).isfinite().all()
