"""What the README says of knobs and addresses is what the code does."""

import re
from pathlib import Path

import pytest

from demond.config import load
from demond.knobs import KNOBS
from demond.mapping import load_mapping
from demond.osc.namespace import TABLE
from demond.reference import generated

README = Path(__file__).parent.parent / "README.md"


def test_the_readme_is_not_stale() -> None:
    text = README.read_text()
    assert generated(text) == text, "run: python -m demond.reference README.md"


def test_every_knob_and_every_address_is_in_the_readme() -> None:
    text = README.read_text()
    assert all(f"| `{knob.name}` |" in text for knob in KNOBS)
    assert all(f"| `{entry.address}` |" in text for entry in TABLE)


def test_a_file_without_places_is_an_error() -> None:
    with pytest.raises(ValueError, match="there should be one place"):
        generated("nothing here")


def test_the_examples_in_the_readme_are_right(tmp_path: Path) -> None:
    settings, mapping = re.findall(r"```yaml\n(.*?)```", README.read_text(), re.DOTALL)
    (tmp_path / "demond.yaml").write_text(settings)
    assert load(tmp_path / "demond.yaml").osc.allow == ["192.168.1.0/24"]
    (tmp_path / "mine.yaml").write_text(mapping)
    [device] = load_mapping([tmp_path / "mine.yaml"]).devices
    assert device.profile == "korg/nanokontrol2"
