# A worker: docker build -t flights . && docker run flights consumers.flights:flights
# Not built by CI, which has no Docker. Stop it with SIGTERM, and give it longer than your handlers take: it drains.

FROM python:3.13-slim AS build
WORKDIR /src
RUN python -m venv /app
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY streamkit streamkit
ENV PIP_CONSTRAINT=/src/constraints.txt PIP_BUILD_CONSTRAINT=/src/constraints.txt
RUN /app/bin/pip install --no-cache-dir '.[zstd]' && /app/bin/pip uninstall --yes pip

FROM python:3.13-slim
RUN useradd --system --no-create-home --uid 10001 streamkit
COPY --from=build /app /app
COPY consumers /srv/consumers
WORKDIR /srv
ENV PATH=/app/bin:$PATH PYTHONPATH=/srv PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001
STOPSIGNAL SIGTERM
# A worker has no health endpoint yet, and a process that merely exists proves nothing: its heartbeat rows tell.
HEALTHCHECK NONE
ENTRYPOINT ["streamkit", "run"]
CMD ["--help"]
