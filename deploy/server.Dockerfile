# The server: Flower's SuperLink, and nginx before it. Build it in the repository's root:
#   docker build -f deploy/server.Dockerfile -t fedgates-server .
FROM python:3.11-slim-bookworm

RUN apt-get update \
    && apt-get install -y --no-install-recommends nginx-light=1.* openssl=3.* \
    && rm -rf /var/lib/apt/lists/* \
    && pip install --no-cache-dir "uv==0.13.*" \
    && useradd --create-home --uid 10001 fedgates \
    && install -d -o fedgates -g fedgates -m 750 /var/lib/fedgates

WORKDIR /opt/fedgates
COPY pyproject.toml README.md LICENSE client_app.py server_app.py ./
COPY fedgates fedgates
COPY strategies strategies
COPY deploy deploy
RUN uv venv && uv pip install --no-cache --torch-backend cpu .

ENV PATH=/opt/fedgates/.venv/bin:$PATH \
    FLWR_HOME=/var/lib/fedgates/flwr \
    FLWR_TELEMETRY_ENABLED=0 \
    FLWR_DISABLE_UPDATE_CHECK=1
USER 10001
VOLUME /var/lib/fedgates
CMD ["deploy/superlink.sh", "/var/lib/fedgates/server", "8000"]
