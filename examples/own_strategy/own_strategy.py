"""Example of your own method: votes that fade, and a learning rate that shrinks.

The server halves the votes of all earlier rounds before it adds the new ones, so that theta is a moving average of the clients'
masks. The learning rate of the clients' Adam falls from round to round.
"""

from collections.abc import Iterable
from dataclasses import replace

from fedgates.config import MaskConfig, key
from fedgates.methods import MaskMethod, Spec, Task, add_votes, train_epochs
from fedgates.nn.optimizers import Adam
from fedgates.types import Update, Votes


class FadingConfig(MaskConfig):
    """Keys of mask methods, and two keys of this method, which pyproject.toml may set."""

    fade: int = key(2, "Number by which votes of earlier rounds are divided each round.", ge=1, le=1000)
    shrink: float = key(0.97, "Factor of the learning rate from round to round.", gt=0, le=1)


class FadingVotes(MaskMethod[FadingConfig]):
    """Votes that fade; frozen weights, evaluation, coding, validation and resuming are inherited."""

    Config = FadingConfig
    spec = Spec(samples=True)  # a mask is a sample of Update.theta, so every uplink codec may carry it

    def local_update(self, state: Votes, task: Task) -> Update:
        """Train scores from the server's theta; return an update with one sample of their probabilities."""
        config, network, gates = self.config, self.network, self.gates
        scores = self.theta(state).clamp_(0.001, 0.999).logit_()
        adam = Adam(scores, network.gradient, learning_rate=config.rate(task.server_round) * config.shrink**task.server_round)
        draw = task.generator(config.seed, "masks", network.device)
        loss = train_epochs(
            network,
            task,
            config,
            adam,
            before_forward=lambda: gates.load_sample(scores, draw),
            after_backward=lambda: gates.straight_through(scores),
        )
        return self.sample_update(scores.sigmoid_(), task, loss)

    def aggregate(self, state: Votes, updates: Iterable[Update], server_round: int) -> Votes:  # noqa: ARG002
        """Divide the earlier votes by `fade`, and add the new ones."""
        fade = self.config.fade
        faded = replace(state, votes=state.votes // fade, trials=state.trials // fade)
        return add_votes(faded, updates, trim=self.config.server.trim)
