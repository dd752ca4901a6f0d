"""The Flower ClientApp; it registers no methods by name, so `strategy` must be "module:Class"."""

from fedgates.flower import make_client_app

app = make_client_app()
