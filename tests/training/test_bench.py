"""The measured options are the same step: the published order and ours agree in their losses."""

import torch

from rvc_colab.config import TrainingConfig
from rvc_colab.training.bench import _measured, _options, _part, table_rows

LOSS_TOLERANCE = 1e-5


def test_the_published_order_and_ours_agree(tiny_config: TrainingConfig) -> None:
    device = torch.device("cpu")
    report = _measured(_options(tiny_config, device), _part(tiny_config, 2, device), 1, device)
    published, exact, half = report["options"]
    assert published["times_as_fast"] == 1.0 and published["largest_loss_difference"] == 0
    assert exact["largest_loss_difference"] < LOSS_TOLERANCE
    assert LOSS_TOLERANCE < half["largest_loss_difference"] < 0.2
    rows = table_rows(report)
    assert len(rows) == 4 and all(len(row) == len(rows[0]) for row in rows)
