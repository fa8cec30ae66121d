"""Families of models: how a kind of model is named, sized, loaded and let go.

Another package brings a family of its own through the entry point group `rvc_colab.model_families`:

    # pyproject.toml of that package
    [project.entry-points."rvc_colab.model_families"]
    ddsp = "ddsp_voices.family:DdspFamily"

    # ddsp_voices/family.py
    from rvc_colab.memory.families import Family

    class DdspFamily(Family):
        name = "ddsp"
        takes = "sound"

        def files(self, key):                       # several files make one model
            return [Path(key.name) / "model.pt", Path(key.name) / "config.yaml"]

        def load(self, key, placement):
            return DdspVoice(*self.files(key)).to(placement.device)

        def sample_rate(self, model):
            return model.rate                       # its own

    with default_manager().acquire("ddsp:/voices/anna") as lease:
        lease.model.convert(...)

The entry point names a class or function that returns the family when called without arguments.
Two whole families, one of sound and one of text, are in docs/model_families.md.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable
from urllib.parse import parse_qsl, urlencode

from rvc_colab.errors import ConfigError
from rvc_colab.memory.sizes import held_bytes, stored_bytes

_log = logging.getLogger(__name__)

ENTRY_POINTS = "rvc_colab.model_families"
ITEM_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


@dataclass(frozen=True)
class ModelKey:
    """Name one model: its family, its name there (a path, or a known name), and options.

    As text: `family:name?option=value&…`.
    """

    family: str
    name: str
    options: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, text: str) -> ModelKey:
        """Read the text form. Raises ConfigError when family or name is missing."""
        family, colon, rest = text.partition(":")
        name, mark, query = rest.rpartition("?")
        if mark and not query:  # how a name with a question mark of its own is written
            rest, query = name, ""
        if "=" not in query or not name:
            name, query = rest, ""
        if not (family and colon and name):
            hint = "Write family:name, for example voice:/voices/anna.pth."
            raise ConfigError(f"{text!r} names no model.", hint)
        return cls(family, name, tuple(sorted(parse_qsl(query))))

    def option(self, name: str, default: str = "") -> str:
        """Return one option."""
        return dict(self.options).get(name, default)

    def __str__(self) -> str:
        query = f"?{urlencode(self.options)}" if self.options else ""
        if not query and "?" in self.name:
            query = "?"
        return f"{self.family}:{self.name}{query}"


@dataclass(frozen=True)
class Placement:
    """Where a model goes: a device as torch names it, and `float32`, `float16` or `bfloat16`."""

    device: str = "cpu"
    dtype: str = "float32"

    @property
    def item_bytes(self) -> int:
        """Return the bytes of one number."""
        return ITEM_BYTES.get(self.dtype, 4)


@dataclass(frozen=True)
class Estimate:
    """Bytes a model needs: `resident` as long as it is loaded, `working` more while it is used."""

    resident: int
    working: int = 0

    @property
    def total(self) -> int:
        """Return both together."""
        return self.resident + self.working


@runtime_checkable
class ModelFamily(Protocol):
    """What the manager asks of a family. Subclass `Family` for sensible answers to most of it.

    `takes` is "sound", "text" or "content"; `dtypes` are the precisions its models can be in.
    """

    name: str
    takes: str
    dtypes: Sequence[str]

    def key(self, text: str) -> ModelKey:
        """Normalise a name within the family, so that one model has one key."""

    def files(self, key: ModelKey) -> Sequence[Path]:
        """Name the files the model is read from; empty when it has none."""

    def runs_on(self, key: ModelKey, device: str) -> bool:
        """Tell whether the model can run on a device."""

    def estimate(self, key: ModelKey, placement: Placement) -> Estimate:
        """Say what the model will need, before it is loaded."""

    def load(self, key: ModelKey, placement: Placement) -> Any:
        """Load the model; raises RVCError, or the device's out-of-memory error."""

    def unload(self, model: Any) -> None:
        """Let go of what a dropped reference would not."""

    def size(self, model: Any) -> int:
        """Measure the bytes a loaded model holds on its device; 0 when it cannot be known."""

    def sample_rate(self, model: Any) -> int | None:
        """Return the model's own sample rate in Hz, if it has one."""


class Family:
    """A family with the usual answers: one file, measured by its tensors.

    `resident_factor` turns the stored weights, in the
    precision of the placement, into the bytes held after loading, `working_factor` into those of
    one use besides. Both are only first guesses: the manager refines them by what it sees.
    """

    name = ""
    takes = "sound"
    dtypes: Sequence[str] = tuple(ITEM_BYTES)
    resident_factor = 1.0
    working_factor = 0.5

    def key(self, text: str) -> ModelKey:
        """Read `name?options`; a name that is a file becomes its absolute path."""
        key = ModelKey.parse(f"{self.name}:{text}")
        path = Path(key.name).expanduser()
        if path.exists():
            return ModelKey(key.family, str(path.resolve()), key.options)
        return key

    def files(self, key: ModelKey) -> Sequence[Path]:
        """Take the name as a path."""
        return [Path(key.name)]

    def runs_on(self, key: ModelKey, device: str) -> bool:
        """Run everywhere."""
        return True

    def estimate(self, key: ModelKey, placement: Placement) -> Estimate:
        """Scale the stored weights to the precision of the placement."""
        weights = sum(
            stored.bytes / stored.item_bytes * min(placement.item_bytes, 4)
            for stored in map(stored_bytes, self.files(key))
        )
        return Estimate(int(weights * self.resident_factor), int(weights * self.working_factor))

    def load(self, key: ModelKey, placement: Placement) -> Any:
        """Load the model."""
        raise NotImplementedError

    def unload(self, model: Any) -> None:
        """Do nothing: dropping the last reference frees the tensors."""

    def size(self, model: Any) -> int:
        """Count the tensors and arrays reachable from the model."""
        return held_bytes(model)

    def sample_rate(self, model: Any) -> int | None:
        """Return the attribute `sample_rate` of the model, if it has one."""
        rate = getattr(model, "sample_rate", None)
        return int(rate) if isinstance(rate, int) else None


class Families:
    """The families that are known, ours and those of other packages."""

    def __init__(self, families: Iterable[ModelFamily] = ()) -> None:
        self._lock = threading.Lock()
        self._families: dict[str, ModelFamily] = {}
        self.problems: list[str] = []
        for family in families:
            self.register(family)

    def register(self, family: ModelFamily) -> None:
        """Make a family known. Raises ConfigError for an incomplete or already taken one."""
        if not isinstance(family, ModelFamily) or not family.name or ":" in family.name:
            raise ConfigError(
                f"{family!r} is no model family.",
                "Subclass rvc_colab.memory.families.Family and give it a name without ':'.",
            )
        with self._lock:
            if family.name in self._families:
                raise ConfigError(f"The model family {family.name!r} is registered already.")
            self._families[family.name] = family

    def install_entry_points(self) -> list[str]:
        """Register what other installed packages offer; return their names.

        A family that cannot be loaded is left out, logged, and named in `problems`.
        """
        from importlib.metadata import entry_points

        found = []
        for point in entry_points(group=ENTRY_POINTS):
            try:
                family = point.load()()
                self.register(family)
            except Exception as error:  # another package's code: anything may happen
                problem = f"The model family {point.name!r} ({point.value}) failed: {error}"
                _log.warning("%s", problem)
                self.problems.append(problem)
            else:
                found.append(family.name)
        return found

    def names(self) -> list[str]:
        """List the known families."""
        with self._lock:
            return list(self._families)

    def get(self, name: str) -> ModelFamily:
        """Return a family by name. Raises ConfigError with the known names."""
        with self._lock:
            if name in self._families:
                return self._families[name]
            known = ", ".join(self._families) or "none"
        raise ConfigError(f"There is no model family {name!r}.", f"Known are: {known}.")

    def key(self, key: ModelKey | str) -> ModelKey:
        """Normalise a key through its family. Raises ConfigError."""
        text = str(key) if isinstance(key, ModelKey) else key
        parsed = ModelKey.parse(text)
        return self.get(parsed.family).key(text.partition(":")[2])
