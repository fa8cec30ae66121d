"""The measured options are the same step: the published order and ours agree in their losses."""

import torch

from rvc_colab.config import TrainingConfig
from rvc_colab.training.bench import _measured, _options, _part, table_rows
from rvc_colab.training.bench_feeding import measure_waiting, noise_clips, waiting_rows

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


def test_the_time_waiting_for_data_is_told_for_each_mode(tiny_config: TrainingConfig) -> None:
    taken: list[int] = []
    rows = measure_waiting(
        tiny_config,
        noise_clips(tiny_config, 4, 0.4),
        lambda parts: taken.append(len(parts[0][0].spec)),
        torch.device("cpu"),
        steps=2,
        buffers=(1, 3),
    )
    assert [(row["mode"], row["buffer"]) for row in rows] == [
        ("on the spot", 0),
        *(("buffered", n) for n in (1, 3)),
        *(("prepared on cpu", n) for n in (1, 3)),
    ]
    assert taken == [2] * 3 * 5 and all(0 <= row["waiting"] <= 1 for row in rows)
    assert len(waiting_rows(rows)) == 6
