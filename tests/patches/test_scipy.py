"""Splines that SciPy removed, by which weights of transformers change their size."""

import numpy as np
import torch


def test_position_biases_change_their_size_by_splines_through_them():
    from scipy import interpolate

    x, y = np.array([-3.0, -1.2, 0.0, 0.5, 2.0, 4.0]), np.array([-2.0, -1.0, 0.0, 1.5, 3.0])

    def cubic(x, y):
        return x**3 - 2 * x * y**2 + y

    resized = interpolate.interp2d(x, y, cubic(x, y[:, None]), kind='cubic')
    new_x, new_y = np.linspace(-3, 4, 9), np.linspace(-2, 3, 4)
    np.testing.assert_allclose(resized(new_x, new_y), cubic(new_x, new_y[:, None]), atol=1e-9)


def test_windows_of_swin_change_their_size_where_weights_are_loaded():
    from mmpretrain.models.utils import resize_relative_position_bias_table

    table = torch.arange(49.0)[:, None].expand(49, 2)  # 7x7 offsets, two heads
    resized = resize_relative_position_bias_table(7, 9, table, 2)
    assert resized.shape == (81, 2)
    torch.testing.assert_close(resized[40], table[24])  # no offset
    assert (resized[1:] > resized[:-1]).float().mean() > 0.85  # grows along rows as it did
