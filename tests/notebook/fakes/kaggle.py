"""A stand-in for `kaggle_secrets` with its error classes and texts."""

from __future__ import annotations

import sys
import types
from dataclasses import dataclass, field


class CredentialError(Exception):
    """The session has no token."""


class BackendError(Exception):
    """The service refused."""


class ValidationError(Exception):
    """The label is empty."""


@dataclass
class FakeSecrets:
    """What the store holds; `failure` names one of the ways to fail."""

    secrets: dict[str, str] = field(default_factory=dict)
    failure: str = ""


def install_kaggle_secrets() -> FakeSecrets:
    """Put `kaggle_secrets` into sys.modules; return it for choosing secrets and failures."""
    fake = FakeSecrets()

    class UserSecretsClient:
        def __init__(self) -> None:
            if fake.failure == "credentials":
                raise CredentialError("A JWT Token is required to use Kaggle APIs")

        def get_secret(self, label: str) -> str:
            if not label:
                raise ValidationError("Label must be non-empty.")
            if fake.failure == "offline":
                raise ConnectionError("Connection error... Please ensure internet is on.")
            if fake.failure == "forbidden":
                raise ConnectionError("Connection error trying to communicate with service.")
            if label not in fake.secrets:
                raise BackendError("Unexpected response: No user secrets exist for kernel")
            return fake.secrets[label]

    module = types.ModuleType("kaggle_secrets")
    module.__dict__.update(
        UserSecretsClient=UserSecretsClient,
        CredentialError=CredentialError,
        BackendError=BackendError,
        ValidationError=ValidationError,
    )
    sys.modules["kaggle_secrets"] = module
    return fake
