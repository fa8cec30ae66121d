"""The manager: load once, share, evict idle ones only, refuse by name, notice new files."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from simulated_memory import MIB, SimulatedDevice, SimulatedFamily

from rvc_colab.config import GpuConfig
from rvc_colab.errors import ConfigError, DeviceError, MemoryBudgetError, VoiceError
from rvc_colab.memory.families import Families, Family
from rvc_colab.memory.manager import ModelManager

PATIENCE = 20.0
NAMES = [f"m{i}" for i in range(10)]


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1e-3
        return self.now


@pytest.fixture
def device() -> SimulatedDevice:
    return SimulatedDevice(300 * MIB)


@pytest.fixture
def family(device: SimulatedDevice) -> SimulatedFamily:
    return SimulatedFamily(device, dict.fromkeys(NAMES, 100 * MIB))


@pytest.fixture
def clock() -> Clock:
    return Clock()


def _manager(
    family: SimulatedFamily, clock: Clock | None = None, percent: float = 100
) -> ModelManager:
    config = GpuConfig(max_memory_usage_percent=percent)
    return ModelManager(
        Families([family]), family.device, config, clock or Clock(), wait_seconds=PATIENCE
    )


@pytest.fixture
def manager(family: SimulatedFamily, clock: Clock) -> ModelManager:
    return _manager(family, clock)


def _names(manager: ModelManager) -> set[str]:
    return {loaded.key.removeprefix("sim:") for loaded in manager.loaded()}


def test_ten_threads_cause_one_load(manager, family) -> None:
    family.gate = threading.Event()

    def use(_: int) -> object:
        with manager.acquire("sim:m0") as lease:
            return lease.model

    with ThreadPoolExecutor(10) as pool:
        answers = [pool.submit(use, i) for i in range(10)]
        assert family.entered.wait(PATIENCE)
        family.gate.set()
        models = {id(answer.result(PATIENCE)) for answer in answers}
    assert family.loads == ["m0"] and len(models) == 1
    assert (manager.statistics.loads, manager.statistics.hits) == (1, 9)


def test_the_least_recently_used_model_is_evicted(manager, family) -> None:
    for name in ("m0", "m1", "m2", "m0", "m3"):
        manager.load(f"sim:{name}")
    assert family.unloads == ["m1"]
    assert _names(manager) == {"m0", "m2", "m3"}


def test_a_model_in_use_is_never_evicted(manager, family) -> None:
    with manager.acquire("sim:m0") as lease:
        for name in NAMES[1:]:
            manager.load(f"sim:{name}")
        assert lease.model.alive
    assert "m0" not in family.unloads


def test_a_pinned_model_stays(manager, family) -> None:
    manager.load("sim:m0")
    manager.pin("sim:m0")
    for name in NAMES[1:]:
        manager.load(f"sim:{name}")
    assert "m0" in _names(manager)
    manager.pin("sim:m0", pinned=False)
    for name in NAMES[1:4]:
        manager.load(f"sim:{name}")
    assert "m0" not in _names(manager)


def test_only_as_much_as_needed_is_evicted(manager, family) -> None:
    for name in ("m0", "m1", "m2"):
        manager.load(f"sim:{name}")
    family.sizes["m3"] = 150 * MIB
    manager.load("sim:m3")
    assert family.unloads == ["m0", "m1"]


def test_a_lease_ends_with_its_block(manager) -> None:
    with manager.acquire("sim:m0") as lease:
        pass
    with pytest.raises(MemoryBudgetError, match="sim:m0"):
        _ = lease.model


def test_too_large_a_model_is_refused_by_name_with_the_numbers(manager, family) -> None:
    family.sizes["m0"] = 400 * MIB
    with pytest.raises(MemoryBudgetError, match=r"sim:m0 needs 0\.39 GB on cuda:0.*0\.29 GB"):
        manager.load("sim:m0")
    assert manager.statistics.refusals == 1


def test_the_cap_is_a_share_of_the_device(family) -> None:
    manager = _manager(family, percent=70)
    for name in NAMES:
        manager.load(f"sim:{name}")
    assert family.device.most["cuda:0"] == 200 * MIB


def test_a_cap_lowered_at_run_time_takes_effect(manager, family) -> None:
    for name in NAMES[:3]:
        manager.load(f"sim:{name}")
    manager.configure(GpuConfig(max_memory_usage_percent=40))
    manager.load("sim:m5")
    assert _names(manager) == {"m5"}


def test_a_full_device_makes_the_next_one_wait(manager, family) -> None:
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with manager.acquire_all(["sim:m0", "sim:m1", "sim:m2"]):
            entered.set()
            leave.wait(PATIENCE)

    def want() -> str:
        with manager.acquire("sim:m3") as lease:
            return str(lease.key)

    with ThreadPoolExecutor(2) as pool:
        pool.submit(hold)
        assert entered.wait(PATIENCE)
        answer = pool.submit(want)
        while not manager.statistics.waits:
            leave.wait(0.005)
        assert not answer.done()
        leave.set()
        assert answer.result(PATIENCE) == "sim:m3"


def test_room_is_what_is_there_and_what_idle_models_would_leave(manager) -> None:
    assert manager.has_room(["sim:m1", "sim:m2", "sim:m3"])
    assert not manager.has_room([f"sim:m{i}" for i in range(4)])
    with manager.acquire_all(["sim:m1", "sim:m2"]):
        assert manager.has_room(["sim:m1", "sim:m3"])  # one is there already
        assert not manager.has_room(["sim:m3", "sim:m4"])
    assert manager.has_room(["sim:m3", "sim:m4"])
    manager.pin("sim:m1")
    manager.limit_to(50)
    assert not manager.has_room(["sim:m3"])
    assert _names(manager) == {"m1", "m2"}  # asking moves nothing


def test_waiting_is_bounded_and_ends_in_a_refusal_by_name(manager) -> None:
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with manager.acquire_all(["sim:m0", "sim:m1", "sim:m2"]):
            entered.set()
            leave.wait(PATIENCE)

    with ThreadPoolExecutor(1) as pool:
        pool.submit(hold)
        assert entered.wait(PATIENCE)
        with (
            pytest.raises(
                MemoryBudgetError, match="sim:m3.*beside sim:m0, sim:m1, sim:m2.*too long"
            ),
            manager.acquire("sim:m3", timeout=0.05),
        ):
            pass
        leave.set()


def test_who_holds_all_the_room_alone_is_refused_at_once(manager) -> None:
    full = manager.acquire_all(["sim:m0", "sim:m1", "sim:m2"])
    with full, pytest.raises(MemoryBudgetError, match="sim:m3"):
        manager.load("sim:m3")
    assert manager.statistics.waits == 0


def test_two_who_wait_for_each_other_do_not_wait_for_ever(manager, family) -> None:
    family.sizes.update(m0=150 * MIB, m1=150 * MIB)
    meet = threading.Barrier(2)

    def greedy(first: str, second: str) -> str:
        with manager.acquire(f"sim:{first}"):
            meet.wait(PATIENCE)
            try:
                with manager.acquire(f"sim:{second}"):
                    return "served"
            except MemoryBudgetError:
                return "refused"

    with ThreadPoolExecutor(2) as pool:
        answers = [pool.submit(greedy, "m0", "m2"), pool.submit(greedy, "m1", "m3")]
        assert sorted(a.result(PATIENCE / 2) for a in answers) == ["refused", "served"]


def test_working_memory_counts_while_a_model_is_used(family) -> None:
    family.working = 60 * MIB
    manager = _manager(family)
    with manager.acquire("sim:m0"):
        assert manager.used("cuda:0") == 160 * MIB
    assert manager.used("cuda:0") == 100 * MIB


def test_models_of_one_caller_share_their_working_memory(family) -> None:
    family.working = 60 * MIB
    manager = _manager(family)
    with manager.acquire("sim:m0"), manager.acquire("sim:m1"):
        assert manager.used("cuda:0") == 260 * MIB


def test_a_wrong_estimate_is_corrected_by_what_was_seen(family) -> None:
    family.wrong_by = 0.5
    manager = _manager(family)
    manager.load("sim:m0")
    assert manager.used("cuda:0") == 100 * MIB
    (entry,) = manager.loaded()
    assert entry.resident == 100 * MIB
    key = manager.families.key("sim:m1")
    guess = manager.estimator.estimate(family, key, _place())
    assert 65 * MIB < guess.resident < 100 * MIB


def _place():
    from rvc_colab.memory.families import Placement

    return Placement("cuda:0", "float32")


def test_the_working_memory_seen_in_a_use_is_learnt(family, device) -> None:
    manager = _manager(family)
    manager.load("sim:m0")
    with manager.acquire("sim:m0"):
        device.allocate("cuda:0", 40 * MIB)
        device.free("cuda:0", 40 * MIB)
    key = manager.families.key("sim:m0")
    assert manager.estimator.estimate(family, key, _place()).working == 40 * MIB


def test_underestimated_models_push_idle_ones_out(family) -> None:
    family.wrong_by = 0.1
    manager = _manager(family, percent=90)
    for name in NAMES[:4]:
        manager.load(f"sim:{name}")
    assert manager.used("cuda:0") <= manager.capacity("cuda:0")


def test_memory_taken_by_other_programs_is_respected(manager, family, device) -> None:
    device.foreign["cuda:0"] = 150 * MIB
    manager.load("sim:m0")
    manager.load("sim:m1")
    assert _names(manager) == {"m1"}


def test_out_of_memory_while_loading_empties_caches_evicts_and_tries_again(manager, family) -> None:
    manager.load("sim:m0")
    family.failures = [RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")]
    with manager.acquire("sim:m1") as lease:
        assert lease.model.alive
        assert "1 idle models unloaded" in lease.notes[0]
    assert manager.devices.emptied and family.unloads == ["m0"]


def test_out_of_memory_again_and_again_is_refused_by_name(manager, family) -> None:
    family.failures = [RuntimeError("CUDA out of memory.") for _ in range(3)]
    with pytest.raises(MemoryBudgetError, match="sim:m0 on cuda:0 ran out of memory 3 times"):
        manager.load("sim:m0")
    assert manager.used("cuda:0") == 0
    manager.load("sim:m0")


def test_a_failed_load_fails_all_who_waited_for_it_once(manager, family) -> None:
    family.failures, family.gate = [VoiceError("damaged", "import it again")], threading.Event()

    def use() -> str:
        try:
            manager.load("sim:m0")
        except VoiceError as error:
            return error.hint
        return "loaded"

    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(use) for _ in range(4)]
        assert family.entered.wait(PATIENCE)
        while len(manager._admission.accounts.holdings) < 4:
            threading.Event().wait(0.005)
        family.gate.set()
        assert [a.result(PATIENCE) for a in answers] == ["import it again"] * 4
    assert manager.used("cuda:0") == 0 and manager.loaded() == []


def test_when_one_of_several_fails_the_others_are_not_lost(manager, family) -> None:
    family.failures = [VoiceError("damaged")]
    with pytest.raises(VoiceError), manager.acquire_all(["sim:m0", "sim:m1"]):
        pass
    assert manager.loaded() == []
    manager.load("sim:m1")
    assert _names(manager) == {"m1"}


def test_unloading_a_model_in_use_waits_for_its_user(manager, family) -> None:
    with manager.acquire("sim:m0") as lease:
        assert manager.unload("sim:m0") is True
        assert lease.model.alive
    assert family.unloads == ["m0"]
    assert manager.unload("sim:m0") is False


def test_unload_all_spares_what_is_pinned(manager) -> None:
    for name in NAMES[:3]:
        manager.load(f"sim:{name}")
    manager.pin("sim:m1")
    assert manager.unload_all() == 2 and _names(manager) == {"m1"}
    assert manager.unload_all(pinned=True) == 1 and not manager.loaded()


def test_idle_models_can_be_evicted_by_age(manager, clock) -> None:
    manager.load("sim:m0")
    clock.now += 100
    manager.load("sim:m1")
    assert manager.evict_idle(older_than=50) == ["sim:m0 on cuda:0"]


def test_lower_priority_goes_before_least_recently_used(manager, family) -> None:
    manager.prioritise(lambda key: 1 if key.name == "m0" else 0)
    for name in ("m0", "m1", "m2", "m3"):
        manager.load(f"sim:{name}")
    assert family.unloads == ["m1"]


def test_auto_takes_the_device_with_the_most_room() -> None:
    device = SimulatedDevice(300 * MIB, ("cuda:0", "cuda:1"))
    device.foreign["cuda:0"] = 50 * MIB
    family = SimulatedFamily(device, dict.fromkeys(NAMES, 100 * MIB))
    manager = _manager(family)
    with manager.acquire("sim:m0") as lease:
        assert lease.device == "cuda:1"
    with manager.acquire("sim:m1", device="cuda:0") as lease:
        assert lease.device == "cuda:0"


def test_what_is_loaded_somewhere_is_used_there() -> None:
    device = SimulatedDevice(300 * MIB, ("cuda:0", "cuda:1"))
    family = SimulatedFamily(device, dict.fromkeys(NAMES, 100 * MIB))
    manager = _manager(family)
    manager.load("sim:m0", device="cuda:1")
    with manager.acquire("sim:m0") as lease:
        assert lease.device == "cuda:1"
    assert family.loads == ["m0"]


def test_what_fits_on_no_gpu_runs_on_the_cpu_and_says_so(caplog) -> None:
    device = SimulatedDevice(300 * MIB, cpu=4000 * MIB)
    family = SimulatedFamily(device, {"m0": 500 * MIB})
    with _manager(family).acquire("sim:m0") as lease:
        assert lease.device == "cpu"
        assert lease.notes == ["sim:m0 fits on no GPU and runs on the CPU."]
    assert "runs on the CPU" in caplog.text


@pytest.mark.parametrize(("size", "dtype"), [(500, "float32"), (100, "float16")])
def test_16_bit_is_for_the_gpu_and_not_for_the_cpu_that_stands_in(size, dtype) -> None:
    device = SimulatedDevice(300 * MIB, cpu=4000 * MIB)
    manager = _manager(SimulatedFamily(device, {"m0": size * MIB}))
    with manager.acquire("sim:m0", "auto", "float16") as lease:
        assert lease.placement.dtype == dtype
    with manager.acquire("sim:m0", "cpu", "float16") as lease:
        assert lease.placement.dtype == "float16"  # as asked: it stands in for nothing


def test_an_unknown_device_is_refused(manager) -> None:
    with pytest.raises(DeviceError, match="cuda:7"):
        manager.load("sim:m0", device="cuda:7")


def test_an_unknown_family_is_refused_with_the_known_ones(manager) -> None:
    with pytest.raises(ConfigError, match="Known are: sim"):
        manager.load("opera:m0")


def test_the_report_counts_hits_and_time_saved(manager) -> None:
    manager.load("sim:m0")
    manager.load("sim:m0")
    counters = manager.statistics.as_dict()
    assert (counters["loads"], counters["hits"]) == (1, 1)
    assert counters["seconds_saved"] == pytest.approx(counters["seconds_loading"])
    assert [event.what for event in manager.statistics.events] == ["load", "hit"]
    assert manager.peaks() == {"cuda:0": 100 * MIB}


class FileFamily(Family):
    name = "text"

    def load(self, key, placement):
        return Path(key.name).read_text()


def test_a_file_written_anew_is_loaded_anew(tmp_path) -> None:
    path = tmp_path / "voice.txt"
    path.write_text("old")
    device = SimulatedDevice(300 * MIB)
    manager = ModelManager(Families([FileFamily()]), device, wait_seconds=PATIENCE)
    with manager.acquire(f"text:{path}") as first:
        path.write_text("newer")
        with manager.acquire(f"text:{path}") as second:
            assert (first.model, second.model) == ("old", "newer")
    assert len(manager.loaded()) == 1


def test_a_family_of_one_precision_is_loaded_once_whatever_is_asked(manager, family) -> None:
    family.dtypes = ("float32",)
    manager.load("sim:m0", dtype="bfloat16")
    with manager.acquire("sim:m0", dtype="float16") as lease:
        assert lease.placement.dtype == "float32"
    assert family.loads == ["m0"]


def test_precisions_of_one_model_are_kept_apart(manager, family) -> None:
    with manager.acquire("sim:m0", dtype="float32"):
        family.alive.clear()
        with manager.acquire("sim:m0", dtype="float16") as lease:
            assert lease.placement.dtype == "float16"
    with manager.acquire("sim:m0"):
        assert len(family.loads) == 2
