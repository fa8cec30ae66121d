"""Every choice a person can make, once: type, range, unit, help and default.

A value comes from the first of these that names it: the command line or call, the environment
(`RVC_*`), a YAML or JSON file, the default here. The command line's options, the page's controls
and the notebooks' forms are derived from these models, so they cannot drift apart.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo

# Rates shared by training and conversion; "kept: voices in the wild expect them".
CONTENT_RATE = 16000  # Hz, what content encoders and f0 estimators hear
CONTENT_HOP = 320  # samples at CONTENT_RATE: 50 content frames per second
FRAME_HOP = 160  # samples at CONTENT_RATE: 100 model frames per second
FRAMES_PER_SECOND = CONTENT_RATE // FRAME_HOP
F0_MIN_HZ, F0_MAX_HZ = 50.0, 1100.0


class F0Method(StrEnum):
    """How the pitch is found."""

    AUTO = "auto"
    RMVPE = "rmvpe"
    SWIFT = "swift"
    PYIN = "pyin"
    CREPE = "crepe"
    FCPE = "fcpe"


class SpeechEngine(StrEnum):
    """The program that speaks a text."""

    AUTO = "auto"
    ESPEAK = "espeak"
    FLITE = "flite"


class Precision(StrEnum):
    """The arithmetic of the networks."""

    AUTO = "auto"
    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"


class Version(StrEnum):
    """The RVC model version: 256-wide content of layer 9 (v1) or 768-wide of layer 12 (v2)."""

    V1 = "v1"
    V2 = "v2"


class Latent(StrEnum):
    """What the generator decodes while it learns."""

    POSTERIOR = "posterior"
    PRIOR = "prior"


def _setting(default: Any, help: str, unit: str = "", **bounds: Any) -> Any:
    """Describe one choice: `unit`, `env` (further variable names) and `group` travel as extras."""
    extra = {"unit": unit, "env": bounds.pop("env", []), "group": bounds.pop("group", "common")}
    return Field(default, description=help, json_schema_extra=extra, **bounds)


class Choices(BaseModel):
    """A family of settings: frozen, and unknown names are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class ConversionConfig(Choices):
    """How sound is converted into a voice."""

    transpose: float = _setting(0.0, "Shift the pitch.", "semitones", ge=-36, le=36)
    index_rate: float = _setting(
        0.75, "How much of the voice's own sounds the index mixes in.", "share", ge=0, le=1
    )
    protect: float = _setting(
        0.33, "Keep consonants and breath from the index; 0.5 turns it off.", "share", ge=0, le=0.5
    )
    envelope_mix: float = _setting(
        0.25, "0 follows the loudness of the source, 1 keeps the voice's own.", "share", ge=0, le=1
    )
    speaker: int = _setting(0, "Which speaker of a voice with several.", ge=0, le=1023)
    f0_method: F0Method = _setting(F0Method.AUTO, "How the pitch is found.")
    f0_file: Path | None = _setting(None, "Pitch from a file instead: lines of seconds,Hz.")
    output_rate: int | None = _setting(
        None, "Sample rate of the result; the voice's own when not given.", "Hz", ge=8000, le=192000
    )
    seed: int | None = _setting(None, "Makes a conversion repeatable.", ge=0, le=2**32 - 1)
    interpolate_f0: bool = _setting(
        False, "Voice unvoiced frames too, for voices trained that way.", group="advanced"
    )
    noise_scale: float = _setting(
        0.66666, "Spread of the prior; 0 gives the mean.", "share", ge=0, le=1, group="advanced"
    )
    chunk_seconds: float = _setting(
        18.0, "Longest stretch converted at once.", "s", ge=2, le=60, group="advanced"
    )
    context_seconds: float = _setting(
        1.0, "Real sound heard on both sides of a stretch.", "s", ge=0.2, le=5, group="advanced"
    )
    encoder: str | None = _setting(
        None, "Content encoder by name or path; the voice's own when not given.", group="advanced"
    )
    device: str = _setting(
        "auto", "auto, cpu, cuda, cuda:N, rocm or mps.", env=["RVC_ACCELERATOR"], group="advanced"
    )
    precision: Precision = _setting(Precision.AUTO, "Arithmetic of the networks.", group="advanced")
    gpu_retrieval: bool = _setting(
        True, "Search the index exactly on the device; off uses faiss.", group="advanced"
    )
    gpu_filter: bool = _setting(
        False, "Run the high-pass on the device instead of the CPU.", group="advanced"
    )
    profiling: bool = _setting(False, "Measure time and memory per stage.", group="advanced")


class SpeechConfig(Choices):
    """How a text is spoken before it is converted."""

    speech_engine: SpeechEngine = _setting(
        SpeechEngine.AUTO,
        "The program that speaks a text; auto takes one that is installed.",
        group="speech",
    )
    speech_language: str = _setting(
        "en",
        "Language of the text, as en, es or pt-br.",
        pattern=r"^[a-z]{2,3}(-[a-z0-9]{1,8}){0,3}$",
        group="speech",
    )
    speech_speed: int = _setting(
        175, "How fast it is spoken.", "words/min", ge=80, le=400, group="speech"
    )


class TrainingConfig(Choices):
    """How a voice is trained from recordings."""

    sample_rate: int = _setting(
        40000, "Sample rate of the voice: 16000, 32000, 40000 or 48000.", "Hz"
    )
    version: Version = _setting(Version.V2, "RVC model version.")
    use_f0: bool = _setting(True, "Train with pitch; off for speech-only voices without melody.")
    encoder: str = _setting("contentvec", "Content encoder by name or path; `tiny` is embedded.")
    f0_method: F0Method = _setting(F0Method.AUTO, "How the pitch is found.")
    epochs: int = _setting(200, "Passes over the recordings.", "epochs", ge=1, le=100_000)
    max_steps: int | None = _setting(None, "Stop after this many steps.", "steps", ge=1)
    max_minutes: float | None = _setting(
        None, "Stop after this time, with a snapshot and a voice.", "min", gt=0
    )
    restart: bool = _setting(
        False, "Put the old run of this name aside and start over, instead of going on with it."
    )
    batch_size: int | None = _setting(
        None,
        "Slices per step and process; from the machine when not given.",
        "slices",
        ge=1,
        le=1024,
        env=["URVC_BATCH_SIZE"],
    )
    save_minutes: float = _setting(
        1.0, "Time between snapshots.", "min", ge=0.01, le=1440, env=["URVC_SAVE_MINUTES"]
    )
    keep_snapshots: int = _setting(2, "How many snapshots stay besides the best one.", ge=1, le=100)
    pretrained: str = _setting(
        "auto",
        "Start from published weights: auto, none, or the path of a G file (its D beside it).",
    )
    build_index: bool = _setting(True, "Build the retrieval index too.")
    seed: int = _setting(1234, "Makes a run repeatable.", ge=0, le=2**32 - 1)
    slice_seconds: float = _setting(
        3.7, "Length of a training slice.", "s", ge=1, le=10, group="advanced"
    )
    speaker: int = _setting(
        0, "Speaker number of these recordings.", ge=0, le=1023, group="advanced"
    )
    speakers: int = _setting(109, "Rows of the speaker table.", ge=1, le=1024, group="advanced")
    learning_rate: float = _setting(1e-4, "Step size of AdamW.", gt=0, le=1, group="advanced")
    lr_decay: float = _setting(
        0.999875, "Factor on the step size after each epoch.", gt=0, le=1, group="advanced"
    )
    mel_weight: float = _setting(45.0, "Weight of the mel loss.", ge=0, le=1000, group="advanced")
    mel_scales: int = _setting(
        1,
        "Window sizes that the mel loss compares; 1 is published, more hear short sounds better.",
        ge=1,
        le=4,
        group="advanced",
    )
    decode_from: Latent = _setting(
        Latent.POSTERIOR,
        "Decode the recording's own latent (posterior, as published) or what content predicts "
        "(prior: for short runs from scratch).",
        group="advanced",
    )
    kl_weight: float = _setting(1.0, "Weight of the KL loss.", ge=0, le=100, group="advanced")
    reconstruction_steps: int = _setting(
        0,
        "First steps without the adversarial losses; helps from scratch.",
        "steps",
        ge=0,
        group="advanced",
    )
    validation_recordings: int | None = _setting(
        None,
        "Whole recordings kept apart to measure with; about one in twenty when not given.",
        "files",
        ge=0,
        le=1000,
        group="advanced",
    )
    validation_minutes: float = _setting(
        1.0,
        "Least time between two measurements at the ends of epochs; 0 measures at each.",
        "min",
        ge=0,
        le=1440,
        group="advanced",
    )
    early_stop: bool = _setting(
        False, "End the run when held-out recordings have sounded worse for long."
    )
    strict: bool = _setting(
        False, "Refuse recordings with faults instead of training on them with a warning."
    )
    segment_frames: int | None = _setting(
        None,
        "Frames decoded per slice and step; as published when not given.",
        "frames",
        ge=8,
        le=400,
        group="advanced",
    )
    hidden_channels: int = _setting(192, "Width of encoder and flow.", ge=8, le=1024, group="size")
    filter_channels: int = _setting(768, "Width inside the encoder.", ge=8, le=4096, group="size")
    encoder_layers: int = _setting(6, "Depth of the encoder.", ge=1, le=24, group="size")
    upsample_initial_channels: int = _setting(
        512, "Width at the generator's start.", ge=16, le=2048, group="size"
    )
    gin_channels: int = _setting(256, "Width of the speaker vector.", ge=4, le=1024, group="size")
    discriminator_scale: float = _setting(
        1.0,
        "Width of the discriminators against the published ones.",
        "share",
        gt=0,
        le=1,
        group="size",
    )
    mixed_precision: Precision = _setting(
        Precision.AUTO, "Arithmetic of the step.", env=["URVC_MIXED_PRECISION"], group="advanced"
    )
    grad_accumulation: int = _setting(
        1,
        "Passes gathered into one step.",
        ge=1,
        le=1024,
        env=["URVC_GRAD_ACCUMULATION"],
        group="advanced",
    )
    max_grad_norm: float | None = _setting(
        None, "Clip gradients to this norm.", gt=0, env=["URVC_MAX_GRAD_NORM"], group="advanced"
    )
    activation_checkpointing: str = _setting(
        "auto",
        "What is computed again instead of kept: auto, off, all, or the bytes that may be kept.",
        group="advanced",
        pattern=r"^(auto|off|all|[0-9]{1,15})$",
        env=["URVC_ACTIVATION_CHECKPOINTING"],
        coerce_numbers_to_str=True,
    )
    buffer_size: int = _setting(
        4,
        "Batches prepared ahead in the background.",
        ge=1,
        le=1024,
        group="advanced",
        env=["URVC_BUFFER_SIZE"],
    )
    data_gpu: str | None = _setting(
        None,
        "GPU that prepares the batches while another one trains.",
        group="advanced",
        coerce_numbers_to_str=True,
    )
    model_gpu: str | None = _setting(
        None,
        "GPU that trains while another one prepares the batches.",
        group="advanced",
        coerce_numbers_to_str=True,
    )
    model_start_delay: float = _setting(
        0.0,
        "With two GPUs: training begins no earlier than this, and with a full buffer.",
        "s",
        ge=0,
        le=3600,
        group="advanced",
    )
    processes: int | None = _setting(
        None,
        "Processes that train together; one for each equal GPU when not given.",
        ge=1,
        le=64,
        group="advanced",
    )
    compile: bool = _setting(
        False, "Compile the networks (torch.compile) where that works.", group="advanced"
    )
    cuda_graphs: bool = _setting(
        False, "Replay the generator as CUDA graphs where that works.", group="advanced"
    )
    device: str = _setting(
        "auto",
        "auto, cuda, rocm, mps or cpu.",
        group="advanced",
        env=["RVC_ACCELERATOR", "URVC_ACCELERATOR"],
    )
    profiling: bool = _setting(False, "Measure time and memory per stage.", group="advanced")


class GpuConfig(Choices):
    """When memory is watched and given back (the `gpu:` section of the file)."""

    auto_cleanup_enabled: bool = _setting(True, "Give idle models back when memory runs short.")
    cleanup_threshold_percent: float = _setting(
        85.0, "Memory in use at which cleaning starts.", "%", ge=10, le=100
    )
    idle_timeout_minutes: float = _setting(
        30.0, "Unload a model that nobody used for so long.", "min", ge=0.05, le=1440
    )
    memory_monitoring_enabled: bool = _setting(True, "Watch memory in the background.")
    memory_monitoring_interval: float = _setting(
        5.0, "Time between two looks.", "s", ge=0.05, le=600
    )
    max_memory_usage_percent: float = _setting(
        90.0, "Most of the device's memory that models may take.", "%", ge=5, le=100
    )


SECTIONS: dict[str, type[Choices]] = {
    "conversion": ConversionConfig,
    "speech": SpeechConfig,
    "training": TrainingConfig,
    "gpu": GpuConfig,
}
TRAINING_RATES = (16000, 32000, 40000, 48000)


def extras(info: FieldInfo) -> dict[str, Any]:
    """Return a field's unit, env names and group."""
    extra = info.json_schema_extra
    return dict(extra) if isinstance(extra, dict) else {"unit": "", "env": [], "group": "common"}


def bounds(info: FieldInfo) -> dict[str, float]:
    """Return a field's bounds by their names (`ge`, `gt`, `le`, `lt`)."""
    return {
        name: getattr(item, name)
        for item in info.metadata
        for name in ("ge", "gt", "le", "lt")
        if getattr(item, name, None) is not None
    }


def range_in_words(info: FieldInfo) -> str:
    """Say a field's range for a person, for example `0 to 1 share`; empty when unbounded."""
    limit = bounds(info)
    unit = extras(info)["unit"]
    low = limit.get("ge", limit.get("gt"))
    high = limit.get("le", limit.get("lt"))
    above = "above " if "gt" in limit else ""
    if low is not None and high is not None:
        text = f"{above}{low:.10g} to {high:.10g}"
    elif low is not None:
        text = f"above {low:.10g}" if above else f"{low:.10g} or more"
    else:
        text = f"at most {high:.10g}" if high is not None else ""
    return f"{text} {unit}".strip() if unit != "share" else text
