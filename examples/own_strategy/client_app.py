"""The Flower ClientApp; no other methods are known by name here, so `strategy` is always "module:Class"."""

from fedgates.flower import make_client_app

app = make_client_app()
