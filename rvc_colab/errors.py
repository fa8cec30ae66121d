"""The family tree of errors. Each says what was found and what to do next.

RVCError
├── ConfigError          a setting is out of range or unknown
├── AudioError           a sound file cannot be read or written
├── VoiceError           a voice file is damaged, of another kind, or missing
├── IndexFileError       a retrieval index cannot be used
├── EncoderError         the content encoder does not fit the voice, or is missing
├── AssetError           known weights could not be fetched or verified
├── DatasetError         the recordings cannot be trained on
├── TrainingError        a training run failed
│   └── SnapshotError    no whole snapshot could be read or written
├── DeviceError          the asked device or precision is not there
├── MemoryBudgetError    a model does not fit, even after giving way
├── NotebookError        the hosted notebook refused something
├── MissingExtraError    an optional package is not installed
└── Cancelled            a person asked to stop
"""

from __future__ import annotations


class RVCError(Exception):
    """Say what went wrong and what to do about it.

    `message` states what was found, with the value and the bound; `hint` is the next step.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[object, ...]:
        """Keep the hint when the error crosses a process border."""
        return _rebuild, (type(self), self.message, self.hint)

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


def _rebuild(kind: type[RVCError], message: str, hint: str) -> RVCError:
    error = kind.__new__(kind)
    RVCError.__init__(error, message, hint)
    return error


class ConfigError(RVCError):
    """A setting is unknown or outside its range."""


class AudioError(RVCError):
    """A sound file cannot be read or written."""


class VoiceError(RVCError):
    """A voice file is missing, damaged, or not a voice."""


class IndexFileError(RVCError):
    """A retrieval index is missing, damaged, or of another voice."""


class EncoderError(RVCError):
    """The content encoder is missing or is not the one the voice was made with."""


class AssetError(RVCError):
    """Known weights could not be found, fetched or verified."""


class DatasetError(RVCError):
    """The recordings cannot be trained on."""


class TrainingError(RVCError):
    """A training run failed."""


class SnapshotError(TrainingError):
    """No whole snapshot could be read or written."""


class DeviceError(RVCError):
    """The asked device or precision is not available."""


class MemoryBudgetError(RVCError):
    """A model does not fit, even after everything idle gave way."""


class NotebookError(RVCError):
    """The hosted notebook or its storage refused something."""


class Cancelled(RVCError):
    """A person asked to stop."""

    def __init__(self, message: str = "Stopped on request.", hint: str = "") -> None:
        super().__init__(message, hint)


class MissingExtraError(RVCError):
    """An optional package is not installed; the hint is the exact command.

    `extra` is the name of the extra in pyproject.toml, `package` what was looked for.
    """

    def __init__(self, extra: str, package: str = "") -> None:
        wanted = package or extra
        super().__init__(
            f"This needs the package {wanted}, which is not installed.",
            f'Run: pip install "rvc_colab[{extra}]"',
        )
        self.extra = extra
