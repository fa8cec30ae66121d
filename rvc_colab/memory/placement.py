"""Decide where wanted models go: the device with the most room, and what must leave for them.

Arithmetic on the accounts; the manager carries the decision out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from rvc_colab.errors import DeviceError
from rvc_colab.memory.accounts import Accounts, Entry, Holding, State
from rvc_colab.memory.devices import CPU, Devices
from rvc_colab.memory.estimates import Estimator
from rvc_colab.memory.families import ModelFamily, ModelKey, Placement

GIB = 1024**3


@dataclass(frozen=True)
class Request:
    """One wanted model. `dtype` None: as it is, else float32; `signature` tells its files apart."""

    key: ModelKey
    family: ModelFamily
    dtype: str | None = None
    signature: tuple[object, ...] = ()


@dataclass
class Plan:
    """One way to serve requests.

    `holding` with its entries, `fresh` those of them that must be loaded, `missing` bytes per
    device, `victims` whose eviction makes the room (None: even all idle ones do not).
    """

    holding: Holding
    fresh: list[Entry] = field(default_factory=list)
    needs: dict[str, int] = field(default_factory=dict)
    missing: dict[str, int] = field(default_factory=dict)
    victims: list[Entry] | None = field(default_factory=list)
    possible: bool = True
    blocked: bool = False
    note: str = ""

    @property
    def fits(self) -> bool:
        """Tell whether it can be carried out as things stand."""
        return not self.blocked and not self.missing

    @property
    def devices(self) -> list[str]:
        """Name the devices that are short of room, or all of them."""
        return list(self.missing or self.needs)


class Planner:
    """Make plans from the accounts of one manager; call it with the manager's lock held."""

    def __init__(self, accounts: Accounts, devices: Devices, estimator: Estimator) -> None:
        self._accounts = accounts
        self._devices = devices
        self._estimator = estimator

    def candidates(self, preferred: str | None) -> list[str]:
        """List the devices to try: the preferred one alone, else GPUs before the CPU."""
        names = self._devices.names()
        if preferred in (None, "auto"):
            return names
        assert preferred is not None
        wanted = preferred.replace("rocm", "cuda")
        wanted = "cuda:0" if wanted == "cuda" else wanted
        if wanted not in names:
            raise DeviceError(
                f"Device {preferred!r} is not there; this machine has {', '.join(names)}.",
                "Choose --device auto.",
            )
        return [wanted]

    def best(
        self,
        requests: Sequence[Request],
        thread: int,
        preferred: str | None,
        exclude: frozenset[str] = frozenset(),
    ) -> Plan:
        """Choose the best plan: no eviction, then eviction, then waiting; GPUs before the CPU.

        `exclude` names devices where waiting has turned out to be useless.
        """
        names = self.candidates(preferred)
        plans = {
            d: self._plan([at(request, d, names) for request in requests], thread, d)
            for d in names
            if d not in exclude
        }
        gpus = [plan for device, plan in plans.items() if device != CPU]
        ranked = sorted(gpus, key=lambda plan: (len(plan.fresh), -self._room_after(plan)))
        wishes: tuple[Callable[[Plan], bool], ...] = (
            lambda plan: plan.blocked,
            lambda plan: plan.fits,
            lambda plan: plan.possible and plan.victims is not None,
            lambda plan: plan.possible,
        )
        for wish in wishes:
            for plan in ranked:
                if wish(plan):
                    return plan
        if CPU in plans:
            if names[0] != CPU:
                plans[CPU].note = f"{_names(requests)} fits on no GPU and runs on the CPU."
            return plans[CPU]
        return ranked[0]

    def _room_after(self, plan: Plan) -> int:
        return sum(
            self._accounts.left(device, self._devices.room(device)) - need
            for device, need in plan.needs.items()
        )

    def _plan(self, requests: Sequence[Request], thread: int, device: str) -> Plan:
        plan = Plan(Holding([], thread))
        for request in requests:
            where = device if request.family.runs_on(request.key, device) else CPU
            known = self._accounts.find(request.key, where, request.dtype)
            known += [e for e in plan.fresh if e.key == request.key]
            usable = [e for e in known if e.signature == request.signature]
            plan.blocked = plan.blocked or any(e.state is State.LEAVING for e in known)
            if not usable:
                for entry in known:  # its files have changed: nobody new gets the old one
                    entry.leave_when_idle = True
                usable = [self._fresh(request, where)]
                plan.fresh += usable
            plan.holding.entries.append(usable[0])
        self._charge(plan)
        return plan

    def _fresh(self, request: Request, device: str) -> Entry:
        placement = Placement(device, request.dtype or "float32")
        estimate = self._estimator.estimate(request.family, request.key, placement)
        entry = Entry(request.key, placement, request.family, estimate, estimate.resident)
        entry.signature = request.signature
        return entry

    def _charge(self, plan: Plan) -> None:
        """Fill in what the plan needs per device, what is missing, and who must leave."""
        holding = plan.holding
        for entry in holding.entries:
            device = entry.placement.device
            working = self._estimator.estimate(entry.family, entry.key, entry.placement).working
            holding.working[device] = max(holding.working.get(device, 0), working)
        for device, working in holding.working.items():
            arriving = sum(e.resident for e in plan.fresh if e.placement.device == device)
            more = self._accounts.more_working(device, holding.thread, working)
            room = self._devices.room(device)
            plan.needs[device] = arriving + more
            everything = sum(e.resident for e in holding.entries if e.placement.device == device)
            if everything + working > self._accounts.capacity(room):
                plan.possible = False
            missing = plan.needs[device] - self._accounts.left(device, room)
            if missing > 0 and plan.needs[device] > 0:
                plan.missing[device] = missing
                victims = self._accounts.victims(device, missing, holding.entries)
                known = plan.victims
                plan.victims = None if victims is None or known is None else [*known, *victims]


def at(request: Request, device: str, names: Sequence[str]) -> Request:
    """Ask for 32 bit on a CPU that stands in for a GPU: 16 bit was asked for the GPU's sake."""
    stands_in = device == CPU and names[0] != CPU
    return replace(request, dtype="float32") if stands_in and request.dtype else request


def _names(requests: Sequence[Request]) -> str:
    return ", ".join(str(request.key) for request in requests)


def gigabytes(count: int) -> str:
    """Write bytes for a person."""
    return f"{count / GIB:.2f} GB" if count >= GIB // 10 else f"{count / 1024**2:.1f} MB"
