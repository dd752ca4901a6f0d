"""The Flower ClientApp: unpack a message, call the method's client rule, pack the reply."""

from fedgates.flower import make_client_app
from strategies import STRATEGIES

app = make_client_app(STRATEGIES)
