"""TensorBoard: event files in the run's folder; `tensorboard --logdir` also takes the folder that all runs lie in."""

import math

from torch.utils.tensorboard import SummaryWriter

from fedgates.runs.totals import Line
from fedgates.trackers.base import Run, numbers

FOLDER = "tensorboard"


class TensorBoard:
    """Scalars under the ledger's own names, theta as a histogram, the config as text."""

    def __init__(self, run: Run) -> None:
        folder = run.folder / FOLDER
        if not run.resumed:  # a run that is told again is told once
            for old in folder.glob("events.out.tfevents.*"):
                old.unlink()
        self._writer = SummaryWriter(str(folder), purge_step=run.first_round if run.resumed else None)
        lines = [f"    {key} = {value!r}" for key, value in run.config.items()]  # indented: a block of code in Markdown
        self._writer.add_text("config", "\n".join(lines), run.first_round - 1)

    def tell(self, line: Line) -> None:
        """Write a round, and have it on the disk."""
        for key, value in numbers(line).items():
            self._writer.add_scalar(key, value, line["round"])
        if counts := line.get("theta_histogram"):
            self._add_theta(counts, line["round"])
        self._writer.flush()

    def close(self, *, finished: bool) -> None:  # noqa: ARG002  # event files do not say how a run ended
        """Close the file."""
        self._writer.close()

    def _add_theta(self, counts: list[int], server_round: int) -> None:
        """Counts of gates in equal parts of 0 to 1, each counted as if at the middle of its part."""
        parts = len(counts)
        middles = [(part + 0.5) / parts for part in range(parts)]
        held = [part for part, count in enumerate(counts) if count]
        self._writer.add_histogram_raw(
            "theta",
            min=held[0] / parts,
            max=(held[-1] + 1) / parts,
            num=sum(counts),
            sum=math.fsum(m * count for m, count in zip(middles, counts, strict=True)),
            sum_squares=math.fsum(m * m * count for m, count in zip(middles, counts, strict=True)),
            bucket_limits=[(part + 1) / parts for part in range(parts)],
            bucket_counts=counts,
            global_step=server_round,
        )
