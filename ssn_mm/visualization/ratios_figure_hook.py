"""The hook that draws how layers select while mmengine trains."""

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..engine import read_ratios
from ..engine.hooks import RatiosHook
from .ratio_figures import plot_layers, plot_network, plot_progress
from .trajectory import plot_trajectory


class RatiosFigureHook(Hook):
    """Sends the figures of the ratios to mmengine's visualizer: files, TensorBoard, W&B, MLflow.

    They are those of the report, by the names ``ratios_network``, ``ratios_progress``,
    ``ratios_layers`` and ``ratios_trajectory``; the visualizer's ``vis_backends`` says where they
    go. The hook draws what ``SSNRadiusHook`` or ``RatiosHook`` recorded.

    Args:
        interval: Iterations between two drawings; the hook also draws after the last iteration.

    Raises:
        ValueError: ``interval`` is below 1, or no hook records ratios.
    """

    priority = 'LOW'  # after the hooks that record

    def __init__(self, interval: int = 1000) -> None:
        if interval < 1:
            raise ValueError(f'interval must be at least 1 iteration, got {interval}')
        self.interval = interval

    def before_train(self, runner: Runner) -> None:
        """Finds the hook that records."""
        recorders = [hook for hook in runner.hooks if isinstance(hook, RatiosHook)]
        if not recorders:
            raise ValueError(
                'RatiosFigureHook draws what another hook records: add SSNRadiusHook (for SN: '
                'RatiosHook) to custom_hooks'
            )
        self.recorder = recorders[0]

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch=None, outputs=None
    ) -> None:
        """Draws at the interval and in the last iteration."""
        last = runner.iter + 1 == runner.max_iters
        due = last or self.every_n_train_iters(runner, self.interval)
        if runner.rank or not due or not self.recorder.has_record:
            return
        run = read_ratios(self.recorder.file)
        name = Path(runner.work_dir).name
        pictures = [plot_network(run), plot_progress(run), plot_layers({name: run})]
        if len(run.normalizers) == 3:
            pictures.append(plot_trajectory({name: run}))
        for picture in pictures:
            canvas = FigureCanvasAgg(picture.figure)
            canvas.draw()
            image = np.asarray(canvas.buffer_rgba())[..., :3]
            runner.visualizer.add_image(f'ratios_{picture.name}', image, step=runner.iter + 1)
