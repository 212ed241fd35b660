"""The copies suite in miniature: every setting is measured, and the page shows it."""

import numpy as np
import pytest

from cxr_ldm.benchmark import copies


class Collection:
    """Stands for a prepared folder: 90 pictures of 45 patients."""

    size = 32

    def __len__(self):
        return 90

    def pixels(self, rows):
        import torch

        return torch.rand(90, 1, 32, 32, generator=torch.Generator().manual_seed(0))[rows] * 2 - 1

    def patients(self, rows):
        return [str(row // 2) for row in rows]


@pytest.fixture(scope="module")
def metrics():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(copies, "Prepared", lambda folder: Collection())
        return copies.run([[30, 30]], [24], [0.5], 4, 3, 19, "anywhere", 0)


def test_copies_alarm_and_fresh_samples_do_not(metrics):
    assert metrics["excess_alarm_exact_50pc_n24_30to30"].value == 1
    assert metrics["near_alarm_exact_50pc_n24_radiographs"].value == 1
    assert metrics["near_alarm_blurred_50pc_n24_radiographs"].n == 3
    assert metrics["near_alarm_fresh_n24_radiographs"].value == 0
    assert metrics["excess_mean_exact_50pc_n24_radiographs"].value == pytest.approx(0.5, abs=0.2)


def test_the_page_has_a_row_for_each_setting(metrics):
    run = {"command": "x", "seed": 0}
    text = copies.page({name: metric.entry() for name, metric in metrics.items()} | {"run": run})
    assert "| 30 trained on, 30 held out | 24 | exact, 50 % |" in text
    assert "| radiographs | 24 | fresh |" in text
    assert np.sum([line.startswith("| ") for line in text.splitlines()]) == 2 + 4 + 3
