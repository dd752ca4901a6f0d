"""The Flower ServerApp: read the config, build the strategy, run the rounds."""

from fedgates.flower import make_server_app
from strategies import STRATEGIES

app = make_server_app(STRATEGIES)
