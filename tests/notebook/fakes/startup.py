"""Run by a test's kernel at its start: the hosted platform of FAKE_PLATFORM, under FAKE_ROOT.

FAKE_FAILURES is JSON: attributes to set on the fake, such as {"mount_failure": "denied"}.
"""

import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(os.environ["FAKE_TESTS"])))

from fakes.colab import install_colab
from fakes.kaggle import install_kaggle_secrets
from IPython import get_ipython

from rvc_colab.notebook import drive

root = Path(os.environ["FAKE_ROOT"])
platform = os.environ.get("FAKE_PLATFORM", "")
# Where the platforms keep things, moved under the test's folder.
drive.Places.__init__.__defaults__ = (
    root / "content/drive",
    root / "kaggle/working",
    root / "kaggle/input",
)
if platform == "colab":
    fake = install_colab(root)
    shell = type("Shell", (type(get_ipython()),), {"__module__": "google.colab._shell"})
    get_ipython().__class__ = shell
else:
    (root / "kaggle/input").mkdir(parents=True, exist_ok=True)
    fake = install_kaggle_secrets() if platform == "kaggle" else None
for name, value in json.loads(os.environ.get("FAKE_FAILURES", "{}")).items():
    setattr(fake, name, value)
if os.environ.get("FAKE_WITHOUT_WIDGETS"):
    sys.modules["ipywidgets"] = None
