# A worker: docker build -t flights . && docker run flights consumers.flights:flights
# Health and metrics are served inside on 127.0.0.1:8080; for a scraper outside: -e STREAMKIT_HEALTH=0.0.0.0:8080 -p 8080:8080
# Linted, and not built by CI, which has no Docker. Stop it with SIGTERM, and give it longer than your handlers take: it drains.

FROM python:3.13-slim AS build
WORKDIR /src
RUN python -m venv /app
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY streamkit streamkit
ENV PIP_CONSTRAINT=/src/constraints.txt PIP_BUILD_CONSTRAINT=/src/constraints.txt
RUN /app/bin/pip install --no-cache-dir '.[metrics,zstd]' && /app/bin/pip uninstall --yes pip

FROM python:3.13-slim
RUN useradd --system --no-create-home --uid 10001 streamkit
COPY --from=build /app /app
COPY consumers /srv/consumers
WORKDIR /srv
ENV PATH=/app/bin:$PATH PYTHONPATH=/srv PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 STREAMKIT_HEALTH=8080
USER 10001
STOPSIGNAL SIGTERM
# Fails if the worker is stuck (docs/operations.md): another status than 200 raises.
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 \
  CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/livez', timeout=4)"]
ENTRYPOINT ["streamkit", "run"]
CMD ["--help"]
