"""The Flower ServerApp."""

from fedgates.flower import make_server_app

app = make_server_app()
