"""Read tokens from the platform's secret store or the environment, never from a cell's text."""

from __future__ import annotations

import importlib
import os
from dataclasses import dataclass, field

from rvc_colab.errors import NotebookError
from rvc_colab.notebook.environment import COLAB, KAGGLE, platform_name

# Other names under which a token commonly stands in the environment.
OTHER_NAMES = {
    "NGROK_AUTHTOKEN": ("NGROK_AUTH_TOKEN", "NGROK_TOKEN"),
    "HF_TOKEN": ("HUGGING_FACE_HUB_TOKEN",),
}


@dataclass(frozen=True)
class Secret:
    """A token, where it came from, or why there is none. Its value is in no text form."""

    name: str
    value: str = field(default="", repr=False)
    source: str = ""
    problem: str = ""
    remedy: str = ""

    def __bool__(self) -> bool:
        return bool(self.value)

    def required(self) -> str:
        """Return the token. Raises NotebookError with what to do when there is none."""
        if not self.value:
            raise NotebookError(self.problem or f"There is no secret {self.name}.", self.remedy)
        return self.value

    def scrub(self, text: str) -> str:
        """Return `text` without the token."""
        return text.replace(self.value, "…") if len(self.value) >= 4 else text


def secret(name: str) -> Secret:
    """Find the secret `name`: the environment, then Colab's or Kaggle's store. Never raises."""
    for variable in (name, *OTHER_NAMES.get(name, ())):
        if value := os.environ.get(variable, "").strip():
            return Secret(name, value, f"the variable {variable}")
    where = platform_name(os.environ)
    if where == KAGGLE:
        return _from_kaggle(name)
    if where == COLAB:
        return _from_colab(name)
    return Secret(name, problem=f"There is no secret {name}.", remedy=f"Set the variable {name}.")


def _from_colab(name: str) -> Secret:
    try:
        userdata = importlib.import_module("google.colab.userdata")
        value = str(userdata.get(name) or "").strip()
    except Exception as error:  # three unrelated classes, told apart by name
        return Secret(name, problem=_colab_problem(name, error), remedy=_colab_remedy(name, error))
    if not value:
        remedy = f"Give {name} a value in the key panel on the left."
        return Secret(name, problem=f"Colab's secret {name} is empty.", remedy=remedy)
    return Secret(name, value, "Colab's secrets")


def _colab_problem(name: str, error: Exception) -> str:
    return {
        "SecretNotFoundError": f"Colab's secrets hold no {name}.",
        "NotebookAccessError": f"This notebook may not read the secret {name}.",
        "TimeoutException": f"Colab did not hand out the secret {name} in time.",
        "ImportError": "Colab's secret store is not there.",
        "ModuleNotFoundError": "Colab's secret store is not there.",
        "ValueError": f"{name!r} is no valid name of a secret.",
    }.get(type(error).__name__, f"Colab's secret store failed ({type(error).__name__}).")


def _colab_remedy(name: str, error: Exception) -> str:
    return {
        "SecretNotFoundError": f"Open the key panel on the left and add {name}.",
        "NotebookAccessError": f"Open the key panel on the left and switch on access for {name}.",
        "TimeoutException": "Secrets are handed out only to a notebook open in the browser.",
        "ValueError": "A name has no spaces.",
    }.get(type(error).__name__, f"Set the variable {name} instead.")


def _from_kaggle(name: str) -> Secret:
    try:
        module = importlib.import_module("kaggle_secrets")
        value = str(module.UserSecretsClient().get_secret(name) or "").strip()
    except Exception as error:  # the client raises its own classes, told apart by name and text
        problem, remedy = _kaggle_refusal(name, error)
        return Secret(name, problem=problem, remedy=remedy)
    if not value:
        remedy = f"Give {name} a value under Add-ons > Secrets."
        return Secret(name, problem=f"Kaggle's secret {name} is empty.", remedy=remedy)
    return Secret(name, value, "Kaggle's secrets")


def _kaggle_refusal(name: str, error: Exception) -> tuple[str, str]:
    kind, text = type(error).__name__, str(error)
    attach = f"Open Add-ons > Secrets, add {name} and attach it to this notebook."
    if kind == "BackendError" or "No user secrets exist" in text:
        return f"Kaggle's secrets hold no {name} for this notebook.", attach
    if kind == "CredentialError":
        return "This Kaggle session has no credentials for its secrets.", "Restart the session."
    if kind == "ConnectionError" and "nternet is on" in text:
        return "Kaggle's secret service cannot be reached.", "Switch Internet on in the settings."
    if kind == "ConnectionError":
        return f"Kaggle's secret service refused {name} (not attached, or not reachable).", attach
    if kind == "ValidationError":
        return f"{name!r} is no valid name of a secret.", "Use letters, digits and underscores."
    if isinstance(error, ImportError):
        return "Kaggle's secret store is not there.", f"Set the variable {name} instead."
    return f"Kaggle's secret store failed ({kind}).", f"Set the variable {name} instead."
