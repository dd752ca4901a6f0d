"""The Flower ClientApp: decode a state, train by the method's client rule, reply with the coded update."""

from fedgates.flower import make_client_app

app = make_client_app()
