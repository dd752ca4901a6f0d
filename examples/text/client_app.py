"""The Flower ClientApp."""

from fedgates.flower import make_client_app

app = make_client_app()
