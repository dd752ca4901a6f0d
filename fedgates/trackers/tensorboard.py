"""TensorBoard tracker: event files in the run's folder; `tensorboard --logdir` also accepts the folder of all runs."""

import math

from torch.utils.tensorboard import SummaryWriter

from fedgates.runs.totals import Line
from fedgates.trackers.base import Run, numbers

FOLDER = "tensorboard"


class TensorBoard:
    """Tracker that writes scalars named like the keys of ``rounds.jsonl``, theta as a histogram, and the config as text."""

    def __init__(self, run: Run) -> None:
        folder = run.folder / FOLDER
        if not run.resumed:  # a replayed run must not have its events twice
            for old in folder.glob("events.out.tfevents.*"):
                old.unlink()
        self._writer = SummaryWriter(str(folder), purge_step=run.first_round if run.resumed else None)
        lines = [f"    {key} = {value!r}" for key, value in run.config.items()]  # indentation makes a code block in Markdown
        self._writer.add_text("config", "\n".join(lines), run.first_round - 1)

    def log(self, line: Line) -> None:
        """Write the numbers of a round to disk."""
        for key, value in numbers(line).items():
            self._writer.add_scalar(key, value, line["round"])
        if counts := line.get("theta_histogram"):
            self._add_theta(counts, line["round"])
        self._writer.flush()

    def close(self, *, finished: bool) -> None:  # noqa: ARG002  # event files have no status
        """Close the file."""
        self._writer.close()

    def _add_theta(self, counts: list[int], server_round: int) -> None:
        """Write a histogram from counts in equal bins of [0, 1]; sums assume that values are at the centers of bins."""
        bins = len(counts)
        middles = [(i + 0.5) / bins for i in range(bins)]
        filled = [i for i, count in enumerate(counts) if count]
        self._writer.add_histogram_raw(
            "theta",
            min=filled[0] / bins,
            max=(filled[-1] + 1) / bins,
            num=sum(counts),
            sum=math.fsum(m * count for m, count in zip(middles, counts, strict=True)),
            sum_squares=math.fsum(m * m * count for m, count in zip(middles, counts, strict=True)),
            bucket_limits=[(i + 1) / bins for i in range(bins)],
            bucket_counts=counts,
            global_step=server_round,
        )
