"""The plan follows from compute capability and memory, and says why."""

from __future__ import annotations

import dataclasses

import pytest

from rvc_colab.errors import ConfigError
from rvc_colab.hardware import Facts, Gpu, plan_conversion, plan_training
from rvc_colab.hardware.machine import GIB

CU128_211 = ("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120")
CU126 = ("sm_50", "sm_60", "sm_70", "sm_75", "sm_80", "sm_86", "sm_90")


def _cuda(
    name: str, capability: tuple[int, int], gigabytes: float, runs: bool | None = True
) -> Gpu:
    size = int(gigabytes * GIB)
    return Gpu(0, name, "cuda", capability, size, size - GIB // 2, runs)


def _facts(*gpus: Gpu, architectures: tuple[str, ...] = CU128_211, **more: object) -> Facts:
    base = Facts(
        gpus, "a CPU", 4, frozenset(), 31 * GIB, 28 * GIB, 70 * GIB, "2.11.0+cu128", architectures
    )
    return dataclasses.replace(base, **more)  # type: ignore[arg-type]


P100 = _cuda("Tesla P100-PCIE-16GB", (6, 0), 16)
V100 = _cuda("Tesla V100-SXM2-16GB", (7, 0), 16)
T4 = _cuda("Tesla T4", (7, 5), 15)
L4 = _cuda("NVIDIA L4", (8, 9), 22.5)
A100_40 = _cuda("NVIDIA A100-SXM4-40GB", (8, 0), 40)
A100_80 = _cuda("NVIDIA A100-SXM4-80GB", (8, 0), 80)
H100 = _cuda("NVIDIA H100 80GB HBM3", (9, 0), 80)
H200 = _cuda("NVIDIA H200", (9, 0), 139)
PRO_6000 = _cuda("NVIDIA RTX PRO 6000 Blackwell Server Edition", (12, 0), 96)
GTX_1660 = _cuda("NVIDIA GeForce GTX 1660 Ti", (7, 5), 6)
SMALL = _cuda("NVIDIA GeForce RTX 3050", (8, 6), 4)
MPS = Gpu(0, "Apple GPU", "mps", None, 16 * GIB, 10 * GIB, True)
MI250 = Gpu(0, "AMD Instinct MI250X", "rocm", (9, 0), 64 * GIB, 60 * GIB, True, "gfx90a")
RX_6800 = Gpu(0, "AMD Radeon RX 6800", "rocm", (10, 3), 16 * GIB, 15 * GIB, True, "gfx1030")


@pytest.mark.parametrize(
    ("gpu", "batch", "precision", "tf32"),
    [
        (P100, 4, "fp32", False),
        (V100, 6, "fp16", False),
        (T4, 4, "fp16", False),
        (L4, 6, "bf16", True),
        (A100_40, 8, "bf16", True),
        (A100_80, 8, "bf16", True),
        (H100, 8, "bf16", True),
        (H200, 8, "bf16", True),
        (PRO_6000, 8, "bf16", True),
        (GTX_1660, 2, "fp32", False),
        (MPS, 2, "fp32", False),
        (MI250, 2, "bf16", False),
        (RX_6800, 2, "fp32", False),
    ],
    ids=lambda value: value.name if isinstance(value, Gpu) else str(value),
)
def test_each_gpu_has_its_row(gpu: Gpu, batch: int, precision: str, tf32: bool) -> None:
    plan = plan_training(_facts(gpu), 40000)
    assert (plan.batch_size, plan.precision, plan.tf32) == (batch, precision, tf32)
    assert (plan.accumulation, plan.checkpointing, plan.processes) == (1, False, 1)
    assert plan_conversion(_facts(gpu)).precision == precision


def test_the_table_goes_by_capability_and_not_by_name() -> None:
    renamed = dataclasses.replace(A100_40, name="Some new card")
    assert plan_training(_facts(renamed)).batch_size == 8


def test_a_gpu_of_unknown_capability_computes_in_fp32() -> None:
    unknown = dataclasses.replace(T4, capability=None)
    plan = plan_training(_facts(unknown))
    assert (plan.precision, plan.batch_size) == ("fp32", 2)


def test_the_memory_model_stands_beside_the_table() -> None:
    plan = plan_training(_facts(T4), 40000)
    # (14.5 GB free x 0.9 - 1.74 fixed - 1.0 context) / (0.54 GB an item / 2 for 16 bits)
    assert plan.batch_size_by_memory == 38
    assert "up to 38 would fit" in plan.reasons["batch_size"]


def test_the_memory_models_figure_can_be_taken() -> None:
    plan = plan_training(_facts(T4), 40000, batch_size="memory")
    assert plan.batch_size == plan.batch_size_by_memory == 38


def test_48k_items_need_more_memory_than_40k_items() -> None:
    at_40k, at_48k = (
        plan_training(_facts(T4), rate).batch_size_by_memory for rate in (40000, 48000)
    )
    assert at_48k < at_40k


def test_a_gpu_that_is_nearly_full_checkpoints_and_accumulates() -> None:
    full = dataclasses.replace(A100_40, free_bytes=4 * GIB)
    plan = plan_training(_facts(full), 48000)
    assert plan.checkpointing and plan.batch_size < 8
    assert plan.batch_size * plan.accumulation >= 8
    assert "do not fit" in plan.reasons["accumulation"]


def test_a_tiny_gpu_still_gets_a_batch_of_one() -> None:
    tiny = dataclasses.replace(SMALL, total_bytes=2 * GIB, free_bytes=GIB)
    assert plan_training(_facts(tiny)).batch_size == 1


def test_two_equal_gpus_are_two_processes() -> None:
    second = dataclasses.replace(T4, index=1)
    plan = plan_training(_facts(T4, second))
    assert plan.processes == 2 and plan.device == "cuda:0"
    assert "2 equal GPUs" in plan.reasons["device"]


@pytest.mark.parametrize(
    ("gpu", "remedy"),
    [
        (P100, "torch==2.11.0+cu126"),
        (V100, "torch==2.11.0+cu126"),
        (_cuda("Tesla K80", (3, 7), 12), "choose another GPU"),
        (_cuda("NVIDIA B200", (10, 0), 180), "newer torch"),
    ],
    ids=["P100", "V100", "K80", "B200"],
)
def test_a_gpu_that_torch_left_behind_is_named_with_the_remedy(gpu: Gpu, remedy: str) -> None:
    refused = dataclasses.replace(gpu, runs=False)
    plan = plan_training(_facts(refused))
    assert plan.device == "cpu"
    assert gpu.name in plan.reasons["device"] and remedy in plan.reasons["device"]
    assert remedy in _facts(refused).in_words()


def test_a_second_gpu_takes_over_from_a_refused_one() -> None:
    refused = dataclasses.replace(P100, runs=False)
    plan = plan_training(_facts(refused, dataclasses.replace(T4, index=1)))
    assert plan.device == "cuda:1" and plan.processes == 1


def test_without_a_gpu_the_plan_is_for_the_cpu() -> None:
    plan = plan_training(_facts())
    assert (plan.device, plan.precision, plan.batch_size) == ("cpu", "fp32", 2)
    assert plan_conversion(_facts()).device == "cpu"


@pytest.mark.parametrize("flag", ["amx_bf16", "avx512_bf16"])
def test_a_cpu_with_bf16_trains_in_bf16_and_converts_exactly(flag: str) -> None:
    facts = _facts(cpu_flags=frozenset({flag}))
    assert plan_training(facts).precision == "bf16"
    assert plan_conversion(facts).precision == "fp32"


def test_a_small_machine_converts_in_shorter_chunks() -> None:
    small = _facts(ram_bytes=4 * GIB)
    assert plan_conversion(small).chunk_seconds < plan_conversion(_facts()).chunk_seconds


def test_arguments_override_and_say_so() -> None:
    plan = plan_training(
        _facts(T4), 40000, batch_size=12, precision="fp32", accumulation=3, checkpointing=True
    )
    assert (plan.batch_size, plan.precision, plan.accumulation, plan.checkpointing) == (
        12,
        "fp32",
        3,
        True,
    )
    for name in ("batch_size", "precision", "accumulation", "checkpointing"):
        assert plan.reasons[name].startswith("As asked")


@pytest.mark.parametrize("prefix", ["RVC_", "URVC_"])
def test_variables_override_and_say_so(monkeypatch: pytest.MonkeyPatch, prefix: str) -> None:
    monkeypatch.setenv(f"{prefix}BATCH_SIZE", "3")
    monkeypatch.setenv(f"{prefix}MIXED_PRECISION", "no")
    monkeypatch.setenv(f"{prefix}GRAD_ACCUMULATION", "5")
    plan = plan_training(_facts(T4))
    assert (plan.batch_size, plan.precision, plan.accumulation) == (3, "fp32", 5)
    assert plan.reasons["batch_size"].startswith(f"Set by {prefix}BATCH_SIZE")


def test_an_argument_beats_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RVC_BATCH_SIZE", "3")
    assert plan_training(_facts(T4), batch_size=5).batch_size == 5


def test_auto_leaves_the_choice_to_the_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RVC_MIXED_PRECISION", "auto")
    assert plan_training(_facts(T4), precision="auto").precision == "fp16"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("RVC_BATCH_SIZE", "many"),
        ("RVC_BATCH_SIZE", "0"),
        ("RVC_MIXED_PRECISION", "fp8"),
        ("RVC_GRAD_ACCUMULATION", "-1"),
        ("RVC_ACTIVATION_CHECKPOINTING", "maybe"),
    ],
)
def test_a_bad_variable_is_named(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError, match=variable):
        plan_training(_facts(T4))


def test_chunk_seconds_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert plan_conversion(_facts(T4), chunk_seconds=30).chunk_seconds == 30
    monkeypatch.setenv("RVC_CHUNK_SECONDS", "900")
    with pytest.raises(ConfigError, match="from 2 to 60"):
        plan_conversion(_facts(T4))


def test_an_unknown_rate_is_refused() -> None:
    with pytest.raises(ConfigError, match="44100"):
        plan_training(_facts(T4), 44100)


def test_words_hold_every_value_with_its_reason() -> None:
    plan = plan_training(_facts(T4))
    words = plan.in_words()
    assert all(reason in words for reason in plan.reasons.values())
    assert "Batch size 4." in words and "Precision fp16." in words
    assert "fp16" in plan_conversion(_facts(T4)).in_words()
