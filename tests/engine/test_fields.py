"""Every field of a request: what it does, and that the ring's promises hold with it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from engine import Knobs
from engine.backends.eager import EagerBackend
from engine.curves import Curves
from engine.guidance import Mode
from engine.guide import Guides
from engine.stream import Result, Ring, generate
from tests.engine.parts import FRAMES
from tests.engine.scenarios import HALF, SCENARIOS, Scenario, play

CONSTANT = sorted(set(SCENARIOS) - {"feedback"})
KNOBS = Knobs()
PLAIN = Scenario()


class Player:
    """One ring over changing knobs and curves."""

    def __init__(self, backend: EagerBackend, source: Tensor, guides: Guides, depth: int = 4) -> None:
        self.ring, self.guides = Ring(backend, source, depth, 8), guides

    def play(self, ticks: int, scenario: Scenario = PLAIN) -> list[Result]:
        curves = scenario.curves(FRAMES)
        guide = self.guides.at(scenario.knobs, curves)
        return [result for _ in range(ticks) for result in self.ring.tick(scenario.knobs, guide, curves)]


@pytest.fixture
def player(backend: EagerBackend, source: Tensor, guides: Guides) -> Player:
    return Player(backend, source, guides)


def once(backend: EagerBackend, source: Tensor, guides: Guides, scenario: Scenario) -> Tensor:
    curves = scenario.curves(FRAMES)
    return generate(backend, source, guides.at(scenario.knobs, curves), curves, scenario.knobs, 8)


def distance(a: Tensor, b: Tensor) -> float:
    return (a - b).square().mean().sqrt().item()


@pytest.mark.parametrize("name", CONSTANT)
@pytest.mark.parametrize("depth", [2, 3, 8])
def test_streaming_equals_generating_once(
    backend: EagerBackend, source: Tensor, guides: Guides, name: str, depth: int
) -> None:
    """Bit for bit, at any depth and at any time of admission."""
    expected = once(backend, source, guides, SCENARIOS[name])
    results = play(backend, source, guides, SCENARIOS[name], 18, depth)
    assert len(results) >= 3
    assert all(torch.equal(result.latent, expected) for result in results)
    assert torch.isfinite(expected).all()


@pytest.mark.parametrize("name", CONSTANT)
def test_slots_of_other_seeds_and_modes_beside_it_change_nothing(
    player: Player, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.stream.WORTH", math.inf)  # no slot is born anew, so that they stay as they are
    scenario = SCENARIOS[name]
    alone = player.play(8, scenario)[0]
    for mode in Mode:
        player.play(2, replace(scenario, knobs=replace(scenario.knobs, seed=2 + mode, guidance_mode=int(mode))))
    mixed = player.play(9, scenario)[-1]
    assert torch.equal(mixed.latent, alone.latent)


@pytest.mark.parametrize("name", CONSTANT)
def test_each_scenario_sounds_its_own(backend: EagerBackend, source: Tensor, guides: Guides, name: str) -> None:
    plain = once(backend, source, guides, Scenario())
    assert name == "plain" or distance(once(backend, source, guides, SCENARIOS[name]), plain) > 1e-3


SHARED: list[dict[str, Any]] = [
    {"velocity_scale": 0.8},
    {"source_lock": 0.5},
    {"protect": 0.5},
    {"sde": True},
    {"ode_noise": 0.3},
    {"ch_g2": 0.5},
    {"ch23": 2.0},
    {"dcw_mode": 3},
    {"prompt_blend": 0.5},
    {"prompt_blend": 0.5, "prompt_a_to": 0.5},
    {"hint_strength": 0.2},
]


@pytest.mark.parametrize("change", SHARED, ids=lambda change: ", ".join(change))
def test_a_shared_change_acts_on_every_slot_in_flight_within_one_tick(player: Player, change: dict[str, Any]) -> None:
    """The next result, whose slot has one step left at least, is another."""
    steady = player.play(16)[-1]
    changed = player.play(2, Scenario(replace(KNOBS, **change)))
    assert changed[0].finished_tick - steady.finished_tick == 2
    assert not torch.equal(changed[0].latent, steady.latent)


@pytest.mark.parametrize("change", [{"guidance_scale": 2.0}, {"guidance_rescale": 1.0}, {"apg_momentum": 0.0}])
def test_the_amount_of_guidance_is_shared(player: Player, change: dict[str, Any]) -> None:
    guidance = replace(KNOBS, guidance_mode=int(Mode.FULL), guidance_scale=5.0)
    steady = player.play(16, Scenario(guidance))[-1]
    assert not torch.equal(player.play(2, Scenario(replace(guidance, **change)))[0].latent, steady.latent)


@pytest.mark.parametrize("change", [{"sde_amp": 0.2}, {"sde_rate": 2.0}])
def test_the_amount_of_sde_is_shared(player: Player, change: dict[str, Any]) -> None:
    sde = replace(KNOBS, sde=True)
    steady = player.play(16, Scenario(sde))[-1]
    assert not torch.equal(player.play(2, Scenario(replace(sde, **change)))[0].latent, steady.latent)


def test_protected_frames_are_the_source_and_the_others_are_not(
    backend: EagerBackend, source: Tensor, guides: Guides
) -> None:
    for knobs in (KNOBS, replace(KNOBS, sde=True), replace(KNOBS, dcw_mode=3, ode_noise=0.2, denoise=1.0)):
        latent = once(backend, source, guides, Scenario(knobs, {"protect": HALF}))
        assert torch.allclose(latent[:25], source[:25], atol=1e-5)
        assert (latent[25:] - source[25:]).square().mean(1).min() > 1e-3


def test_what_is_protected_at_strength_0_is_the_source_bit_for_bit(player: Player, source: Tensor) -> None:
    (result,) = player.play(8, Scenario(Knobs(denoise=0.0), {"protect": HALF}))
    assert torch.equal(result.latent, source)


def test_sde_led_by_the_source_alone_ends_at_it(backend: EagerBackend, source: Tensor, guides: Guides) -> None:
    assert torch.equal(once(backend, source, guides, Scenario(Knobs(sde=True, sde_amp=0.0))), source)
    latent = once(backend, source, guides, Scenario(Knobs(sde=True), {"sde_amp": HALF}))
    assert torch.equal(latent[25:], source[25:])
    assert distance(latent[:25], source[:25]) > 0.1


def test_noise_of_the_steps_is_a_function_of_the_seed(backend: EagerBackend, source: Tensor, guides: Guides) -> None:
    before = torch.get_rng_state()
    first, again, other = (once(backend, source, guides, Scenario(Knobs(sde=True, seed=seed))) for seed in (4, 4, 5))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_lock_target_of_its_own_draws_to_it(player: Player) -> None:
    target = torch.zeros(FRAMES, 64)
    player.ring.lock_target = target
    assert distance(player.play(8, Scenario(Knobs(source_lock=1.0)))[0].latent, target) < 1e-5


def test_a_lock_curve_waits_for_its_gate(backend: EagerBackend, source: Tensor, guides: Guides) -> None:
    free = once(backend, source, guides, Scenario())
    drawn = {"source_lock": [0.5]}
    never, late, always = (
        once(backend, source, guides, Scenario(Knobs(lock_gate=g), drawn)) for g in (1.0, 0.8, 0.0)
    )
    assert torch.equal(never, free)
    assert 0 < distance(late, free) < distance(always, free)


def test_all_noise_and_no_noise_at_birth(backend: EagerBackend, source: Tensor, guides: Guides) -> None:
    """Frames born from the source alone end nearer to it than those born from noise."""
    latent = once(backend, source, guides, Scenario(drawn={"initial_noise": HALF}))
    assert distance(latent[25:], source[25:]) < distance(latent[:25], source[:25])


def test_equal_prompts_mixed_by_time_are_one_prompt(backend: EagerBackend, source: Tensor, guides: Guides) -> None:
    guides.replace("b", guides._conditions["a"])
    mixed = once(backend, source, guides, Scenario(drawn={"prompt_blend": [0.3, 0.9]}))
    assert (mixed - once(backend, source, guides, Scenario())).abs().max() < 1e-4


def test_prompts_by_time_are_each_alone_at_the_ends(backend: EagerBackend, source: Tensor, guides: Guides) -> None:
    a, b = (once(backend, source, guides, Scenario(Knobs(prompt_blend=w))) for w in (0.0, 1.0))
    drawn = {"prompt_blend": [0.0] * 25 + [1.0] * 25}
    mixed = once(backend, source, guides, Scenario(drawn=drawn))
    assert distance(mixed[:15], a[:15]) < distance(mixed[:15], b[:15])
    assert distance(mixed[35:], b[35:]) < distance(mixed[35:], a[35:])


def test_a_condition_stands_in_where_none_is_active(backend: EagerBackend, source: Tensor, guides: Guides) -> None:
    """Both prompts end at half the schedule: the first plays on, whatever its weight."""
    ended = Knobs(prompt_blend=0.5, prompt_a_to=0.5, prompt_b_to=0.5)
    handed_on = Knobs(prompt_blend=0.5, prompt_b_to=0.5)
    assert torch.equal(*(once(backend, source, guides, Scenario(knobs)) for knobs in (ended, handed_on)))


def test_frames_where_every_weight_is_nothing_get_the_mean(
    backend: EagerBackend, source: Tensor, guides: Guides
) -> None:
    """B alone is active at first, and drawn to nothing in the first half."""
    knobs = Knobs(prompt_a_from=0.5)
    latent = once(backend, source, guides, Scenario(knobs, {"prompt_blend": HALF[::-1]}))
    assert torch.isfinite(latent).all()
    assert latent.abs().max() < 20


@pytest.mark.parametrize("mode", [Mode.FULL, Mode.INITIALIZE])
def test_guidance_in_one_forward_is_guidance_in_several(
    backend: EagerBackend, source: Tensor, guides: Guides, monkeypatch: pytest.MonkeyPatch, mode: Mode
) -> None:
    scenario = Scenario(Knobs(guidance_mode=int(mode), guidance_scale=5.0))
    calls: list[int] = []
    velocity = backend.velocity
    monkeypatch.setattr(backend, "velocity", lambda x, t, sides: (calls.append(len(t)), velocity(x, t, sides))[1])
    fused = play(backend, source, guides, scenario, 16)
    assert max(calls) == (8 if mode is Mode.FULL else 5)
    assert len(calls) == 16
    monkeypatch.setattr(backend, "most", 3)
    calls.clear()
    apart = play(backend, source, guides, scenario, 16)
    assert max(calls) == 3
    assert [result.digest() for result in fused] == [result.digest() for result in apart]


def test_guidance_that_is_turned_up_later_knows_what_to_lead_away_from(player: Player) -> None:
    """A slot born with guidance at scale 1 has asked the network for nothing negative so far."""
    silent = Knobs(guidance_mode=int(Mode.INITIALIZE), guidance_scale=1.0)
    player.play(12, Scenario(silent))
    unguided = player.play(2, Scenario(silent))[0]
    (turned,) = player.play(2, Scenario(replace(silent, guidance_scale=8.0)))
    assert 0 < distance(turned.latent, unguided.latent) < 10


def test_guidance_of_1_is_none_and_costs_nothing(backend: EagerBackend, source: Tensor, guides: Guides) -> None:
    one = Scenario(Knobs(guidance_mode=int(Mode.FULL), guidance_scale=1.0))
    assert torch.equal(once(backend, source, guides, one), once(backend, source, guides, Scenario()))


def test_slots_keep_their_own_initial_negatives(player: Player, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slots of two seeds, born at other ticks, beside each other and alone."""
    monkeypatch.setattr("engine.stream.WORTH", math.inf)
    first = Scenario(Knobs(guidance_mode=int(Mode.INITIALIZE), guidance_scale=5.0))
    second = replace(first, knobs=replace(first.knobs, seed=9))
    alone = [player.play(16, each)[-1].digest() for each in (first, second)]
    both = [result.digest() for each in (first, second) * 6 for result in player.play(2, each)]
    assert set(both[-8:]) == set(alone)


def test_unused_paths_ask_nothing_of_the_network(
    backend: EagerBackend, source: Tensor, guides: Guides, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[int] = []
    velocity = backend.velocity
    monkeypatch.setattr(backend, "velocity", lambda x, t, sides: (rows.append(len(t)), velocity(x, t, sides))[1])
    for name in ("plain", "guidance self", "blended prompts", "sde", "dcw double", "protect"):
        play(backend, source, guides, SCENARIOS[name], 8)
    assert max(rows) == 4


@pytest.mark.parametrize(("before", "after"), [(2, 4), (4, 2), (1, 8), (8, 1), (4, 3)])
def test_depth_is_live_and_no_latent_hears_of_it(
    backend: EagerBackend, source: Tensor, guides: Guides, before: int, after: int
) -> None:
    player = Player(backend, source, guides, before)
    steady = player.play(24)[-1].digest()
    player.ring.depth = after
    results = player.play(40)
    assert {result.digest() for result in results} == {steady}
    late = [result.finished_tick for result in results if result.finished_tick >= 48]
    assert len(late) == 16 * after // 8
    assert player.ring.load <= after


def test_curves_that_are_set_again_leave_the_music_settled(player: Player) -> None:
    curves = Curves(FRAMES, torch.device("cpu")).drawn("velocity_scale", [0.5, 1.0])
    guide = player.guides.at(KNOBS, curves)
    for _ in range(8):
        player.ring.tick(KNOBS, guide, curves)
    same = curves.drawn("velocity_scale", [0.5, 1.0])
    results = [result for _ in range(8) for result in player.ring.tick(KNOBS, guide, same)]
    assert all(result.settled for result in results)
