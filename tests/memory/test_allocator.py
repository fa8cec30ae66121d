"""Allocator settings: only where asked, never over a person's own."""

from __future__ import annotations

import os
import subprocess
import sys

from rvc_colab.memory.allocator import (
    PRIMITIVES,
    PRIMITIVES_KEPT,
    apply_allocator_settings,
    limit_primitive_cache,
)


def test_expandable_segments_are_set() -> None:
    env: dict[str, str] = {}
    apply_allocator_settings(env)
    assert env == {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"}


def test_other_settings_of_a_person_stay() -> None:
    env = {"PYTORCH_CUDA_ALLOC_CONF": "max_split_size_mb:128"}
    apply_allocator_settings(env)
    assert env["PYTORCH_CUDA_ALLOC_CONF"] == "max_split_size_mb:128,expandable_segments:True"


def test_a_persons_own_choice_stays() -> None:
    env = {"PYTORCH_ALLOC_CONF": "expandable_segments:False"}
    assert "already" in apply_allocator_settings(env)
    assert env == {"PYTORCH_ALLOC_CONF": "expandable_segments:False"}


def test_importing_the_memory_package_sets_nothing_and_loads_no_torch() -> None:
    code = (
        "import os, sys, rvc_colab.memory; "
        "print('PYTORCH_CUDA_ALLOC_CONF' in os.environ, 'torch' in sys.modules)"
    )
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTORCH")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert done.stdout.split() == ["False", "False"], done.stderr


def test_prepared_convolutions_are_limited() -> None:
    env: dict[str, str] = {}
    limit_primitive_cache(env)
    assert env == {PRIMITIVES: PRIMITIVES_KEPT}


def test_a_persons_own_limit_of_prepared_convolutions_stays() -> None:
    env = {PRIMITIVES: "7"}
    limit_primitive_cache(env)
    assert env == {PRIMITIVES: "7"}
