"""Let `python -m rvc_colab` be the command line."""

import sys

from rvc_colab.cli import main

if __name__ == "__main__":
    sys.exit(main())
