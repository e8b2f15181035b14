"""What can be changed while it plays, kind by kind, on real sessions over one to six seconds of music."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from engine import Knobs, LoraError, Prompt, Silence
from tests.engine.playing import KNOBS, STEP, Player, digest, fresh, session_of


def test_depth_goes_up_and_down_without_a_trace_in_the_music(player: Player) -> None:
    before = player.settled()
    for depth in (6, 1, 3):
        assert player.after(player.session.request_depth(depth)) == ""
        assert player.session.setup.depth == depth
        assert player.step().idle
        player.knobs = replace(KNOBS, seed=depth, version=depth)
        assert player.step().ticked
        player.settled()
    player.knobs = KNOBS
    assert player.settled() == before
    player.sounds_whole()


@pytest.mark.parametrize("depth", [1, 2, 8])
def test_results_come_as_often_as_the_depth_says(player: Player, depth: int) -> None:
    player.settled()
    player.after(player.session.request_depth(depth))
    results = []
    for i in range(48):
        player.knobs = Knobs(denoise=0.5 + i / 100, version=i)
        step = player.step()
        if i >= 8:  # what was in flight has finished
            results += [write.result for write in step.writes]
    assert results[-1] - results[0] == pytest.approx(39 * depth / 8, abs=max(1, depth / 8))


def test_steps_change_to_the_music_of_a_session_with_so_many(player: Player, two_seconds: Path) -> None:
    player.settled()
    assert player.after(player.session.request_steps(5)) == ""
    assert player.steps[-1].writes  # the swap came with its first write
    assert player.settled() == fresh(source=two_seconds, steps=5)
    player.sounds_whole()


def test_a_swap_leaves_the_ring_full_so_that_its_music_is_settled_at_once(player: Player, other: Path) -> None:
    player.session.set_curve("velocity_scale", [0.8, 1.0])
    player.session.set_curve("hint_strength", [0.5, 1.0])
    for ask in (lambda: player.session.request_steps(6), lambda: player.session.request_source(other)):
        player.settled()
        before = player.steps[-1].tick
        player.after(ask())
        swapped = digest(player.session)
        player.until(lambda: player.steps[-1].idle)
        assert player.steps[-1].tick <= before + 2
        assert digest(player.session) == swapped


def test_a_prompt_changes_to_the_music_of_a_session_with_it(player: Player, two_seconds: Path) -> None:
    player.settled()
    assert player.after(player.session.request_prompt("a", "ambient, 90 bpm, c minor")) == ""
    assert player.steps[-1].ticked
    assert player.settled() == fresh(source=two_seconds, prompt_a="ambient, 90 bpm, c minor")
    player.sounds_whole()


def test_a_negative_prompt_is_what_guidance_leads_away_from(player: Player, two_seconds: Path) -> None:
    player.knobs = replace(KNOBS, guidance_mode=1, guidance_scale=3.0)
    before = player.settled()
    player.after(player.session.request_prompt("negative", Prompt("techno, busy", bpm=140)))
    after = player.settled()
    assert after != before
    assert after == fresh(player.knobs, source=two_seconds, negative=Prompt("techno, busy", bpm=140))
    player.after(player.session.request_prompt("negative", ""))
    assert player.settled() == before


def test_the_structure_of_a_clip_is_followed_until_it_is_taken_away(
    player: Player, two_seconds: Path, other: Path
) -> None:
    before = player.settled()
    player.after(player.session.request_structure(other))
    after = player.settled()
    assert after != before
    assert after == fresh(source=two_seconds, structure=other)
    player.after(player.session.request_structure(None))
    assert player.settled() == before
    player.sounds_whole()


def test_structure_goes_over_from_the_source_to_the_clip(player: Player, other: Path) -> None:
    before = player.settled()
    player.after(player.session.request_structure(other))
    of_the_clip = player.settled()
    player.knobs = replace(KNOBS, structure_blend=0.5)
    between = player.settled()
    player.knobs = replace(KNOBS, structure_blend=0.0)
    assert player.settled() == before
    assert len({before, between, of_the_clip}) == 3


def test_a_full_lock_ends_at_the_target_and_at_the_source_when_it_is_taken_away(
    player: Player, two_seconds: Path, other: Path
) -> None:
    player.knobs = replace(KNOBS, source_lock=1.0)
    at_the_source = player.settled()
    player.after(player.session.request_target(other))
    at_the_target = player.settled()
    assert at_the_target != at_the_source
    assert at_the_target == fresh(player.knobs, source=two_seconds, target=other)
    player.after(player.session.request_steps(6))
    assert player.settled() == fresh(player.knobs, source=two_seconds, target=other, steps=6)
    player.after(player.session.request_steps(8))
    player.after(player.session.request_target(None))
    assert player.settled() == at_the_source
    player.sounds_whole()


def test_the_built_in_model_says_that_it_hears_no_timbre(player: Player, other: Path) -> None:
    before = player.settled()
    assert "timbre" in player.after(player.session.request_timbre(other))
    assert player.settled() == before


def test_a_clip_s_timbre_is_taken_on_by_a_model_that_hears_it(two_seconds: Path, other: Path, tiny: Path) -> None:
    session = session_of(checkpoint=tiny, source=two_seconds)
    try:
        player = Player(session)
        before = player.settled()
        assert player.after(session.request_timbre(other)) == ""
        after = player.settled()
        assert after != before
        assert after == fresh(checkpoint=tiny, source=two_seconds, timbre=other)
        player.after(session.request_timbre(None))
        assert player.settled() == before
    finally:
        session.close()


def test_a_lora_acts_in_one_tick_and_is_gone_without_a_trace(player: Player, two_seconds: Path, lora: Path) -> None:
    before = player.settled()
    ticks = player.steps[-1].tick
    assert "no alpha" in player.after(player.session.request_lora(lora, 0.7))
    player.until(lambda: digest(player.session) != before)
    assert player.steps[-1].tick <= ticks + 2  # a slot born before it came has finished with it
    after = player.settled()
    assert after == fresh(source=two_seconds, loras=[(lora, 0.7)])
    player.after(player.session.request_lora(lora, -0.3))
    assert player.settled() == fresh(source=two_seconds, loras=[(lora, -0.3)])
    player.after(player.session.request_lora(lora, None))
    assert player.settled() == before
    player.sounds_whole()


def test_a_lora_of_another_network_is_refused_and_keeps_the_checkpoint_out(
    player: Player, tiny: Path, lora: Path, tmp_path: Path
) -> None:
    before = player.settled()
    with pytest.raises(LoraError, match="no such file"):
        player.after(player.session.request_lora(tmp_path / "none.safetensors", 1.0))
    player.after(player.session.request_lora(lora, 0.5))
    with pytest.raises(LoraError, match="was made for another network"):
        player.after(player.session.request_checkpoint(tiny))
    assert player.session.model_name == "built-in"
    player.after(player.session.request_lora(lora, None))
    assert player.settled() == before
    player.after(player.session.request_checkpoint(tiny))
    with pytest.raises(LoraError, match="was made for another network"):
        player.after(player.session.request_lora(lora, 0.5))


def test_another_source_takes_the_place_of_the_old_one_with_its_new_music(
    player: Player, two_seconds: Path, other: Path
) -> None:
    player.settled()
    player.after(player.session.request_source(other))
    assert (player.session.frames, player.port.frames) == (35, 67_200)
    assert player.steps[-1].writes
    swapped = player.port.loop.copy()
    assert player.settled() == fresh(source=other)
    assert np.square(player.port.loop - swapped).mean() < 1e-3 * np.square(swapped).mean()  # it was there at once
    player.after(player.session.request_source(two_seconds))
    assert player.settled() == fresh(source=two_seconds)
    player.sounds_whole()


def test_music_from_text_alone_is_a_silent_source(player: Player) -> None:
    player.knobs = replace(KNOBS, denoise=1.0)
    player.after(player.session.request_source(Silence(1.5)))
    assert player.session.loop_seconds == 1.4  # whole frames of structure
    assert player.settled() == fresh(player.knobs, source=Silence(1.5))
    assert np.square(player.port.loop).mean() ** 0.5 > 0.01


def test_another_checkpoint_plays_on_where_the_old_one_was(player: Player, two_seconds: Path, tiny: Path) -> None:
    before = player.settled()
    old = player.port.loop.copy()
    player.after(player.session.request_checkpoint(tiny))
    assert player.session.model_name == "tiny-turbo"
    assert player.steps[-1].writes
    assert player.steps[-1].writes[0].start_playhead > player.port.place()[0] - STEP
    assert np.mean(np.any(player.port.loop != old, axis=1)) < 0.9  # only what comes next has been overwritten
    assert player.settled() == fresh(source=two_seconds, checkpoint=tiny)
    player.after(player.session.request_checkpoint(None))
    assert player.session.model_name == "built-in"
    assert player.settled() == before


def test_a_long_source_is_played_by_windows_until_all_of_it_is_fresh(six_seconds: Path) -> None:
    session = session_of(source=six_seconds, context_seconds=4.0)
    try:
        player = Player(session)
        player.settled()
        performance = session._performance
        assert performance is not None
        assert performance.playback.fresh
        assert performance.result is not None
        assert performance.result.region[1] == 100
        ticks = player.steps[-1].tick
        player.port.play(2 * player.port.frames)
        assert not any(player.step().ticked for _ in range(10))
        player.knobs = replace(KNOBS, seed=3)
        assert player.step().ticked
        player.settled()
        assert performance.playback.fresh
        assert player.steps[-1].tick > ticks + 8  # more than one region was made
        player.sounds_whole()
    finally:
        session.close()


def test_the_window_is_changed_while_it_plays(six_seconds: Path) -> None:
    session = session_of(source=six_seconds)
    try:
        player = Player(session)
        whole = player.settled()
        assert player.after(session.request_context(4.0)) == ""
        player.settled()
        assert session._performance is not None
        assert session._performance.playback.fresh
        player.after(session.request_context(None))
        assert player.settled() == whole
        player.sounds_whole()
    finally:
        session.close()


def test_knobs_and_curves_are_kept_over_every_swap(player: Player, two_seconds: Path, other: Path) -> None:
    player.knobs = replace(KNOBS, denoise=0.6, seed=7, version=9)
    curve = {"velocity_scale": [0.5, 1.0, 1.2, 0.8]}
    player.session.set_curve("velocity_scale", curve["velocity_scale"])
    player.after(player.session.request_source(other))
    player.after(player.session.request_steps(6))
    assert player.settled() == fresh(player.knobs, curve, source=other, steps=6)
    player.after(player.session.request_source(two_seconds))
    assert player.settled() == fresh(player.knobs, curve, source=two_seconds, steps=6)
    player.session.set_curve("velocity_scale", None)
    assert player.step().ticked
    assert player.settled() == fresh(player.knobs, source=two_seconds, steps=6)


def test_a_curve_protects_a_part_of_the_source(player: Player) -> None:
    player.session.set_curve("protect", [1.0, 1.0, 0.0, 0.0])
    player.settled()
    performance, source = player.session._performance, player.session._changes.rig.latents
    assert performance is not None
    assert performance.result is not None
    latent = performance.result.latent
    assert torch.allclose(latent[7:18], source[7:18], atol=1e-4)  # from the middle of the first to that of the second
    assert not torch.allclose(latent[32:43], source[32:43], atol=0.1)
