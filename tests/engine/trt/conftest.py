"""Graphs exported once for all tests here: a tiny network and a tiny Oobleck decoder, in fp16."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderOobleck
from torch import nn
from typer.testing import CliRunner

from engine.trt.__main__ import app
from engine.trt.build import build
from engine.trt.export import export
from engine.trt.files import Built, Exported, Part, Precision
from engine.trt.graphs import Graph, dit_graph, vae_graph
from engine.vae import OobleckVae
from tests.engine.parts import random_backend

CAPABILITIES = ("8.6", "8.9", "12.0")


def engine_command(*arguments: str, status: int = 0) -> str:
    """What `demond engine` says, in this process: loading torch anew takes longer than most commands."""
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == status, done.output
    return done.stdout if status == 0 else done.output


def tiny_oobleck_vae() -> OobleckVae:
    """With two blocks instead of five: an export takes as long as a graph is."""
    with warnings.catch_warnings(), torch.random.fork_rng():
        warnings.simplefilter("ignore", FutureWarning)
        torch.manual_seed(3)
        model: nn.Module = AutoencoderOobleck(  # type: ignore[no-untyped-call, assignment]
            encoder_hidden_size=128,
            downsampling_ratios=[40, 48],
            channel_multiples=[1, 1],
            decoder_channels=8,
            decoder_input_channels=64,
            audio_channels=2,
            sampling_rate=48_000,
        )
    return OobleckVae(model.eval().requires_grad_(False))


def tiny_oobleck(part: Part, precision: Precision) -> Graph:
    """A half of it."""
    return vae_graph(tiny_oobleck_vae(), part, precision)


@pytest.fixture(scope="session")
def dit() -> Graph:
    return dit_graph(random_backend().model, Precision.FP16)


@pytest.fixture(scope="session")
def decoder() -> Graph:
    return tiny_oobleck(Part.DECODER, Precision.FP16)


@pytest.fixture(scope="session")
def exported_dit(dit: Graph, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Exported]:
    folder = tmp_path_factory.mktemp("graphs") / "tiny" / "dit-fp16"
    return folder, export(dit, folder, "tiny")


@pytest.fixture(scope="session")
def engines(exported_dit: tuple[Path, Exported]) -> dict[str, tuple[Path, Built]]:
    """Of the tiny network, by compute capability."""
    return {each: build(exported_dit[0], each) for each in CAPABILITIES}


@pytest.fixture(scope="session")
def one_shape(exported_dit: tuple[Path, Exported]) -> tuple[Path, Built]:
    """An engine of the tiny network that leaves no size open."""
    return build(exported_dit[0], "8.9", {"batch": (4, 4, 4), "length": (300, 300, 300)})


@pytest.fixture(scope="session")
def exported_decoder(decoder: Graph, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Exported]:
    folder = tmp_path_factory.mktemp("graphs") / "tiny" / "decoder-fp16"
    return folder, export(decoder, folder, "tiny")
