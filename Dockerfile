# One image for every role; docker-compose.yml says which command plays which.
#
#   docker build -t unbroken .

FROM python:3.11-slim AS build
WORKDIR /app
RUN python -m venv /venv
ENV PATH=/venv/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# A lock of its own, without the embedded servers: a container has its Postgres and Redis beside it.
COPY requirements-image.lock ./
RUN pip install --require-hashes --requirement requirements-image.lock
COPY pyproject.toml settings.py LICENSE ./
COPY api api
COPY workers workers
COPY webhooks webhooks
COPY models models
COPY clients/python clients/python
# Run from the checkout, not from a wheel: the packages' names are too general to be published.
RUN pip install --no-deps --no-build-isolation --editable . \
 && python -m compileall -q /app

FROM python:3.11-slim
LABEL org.opencontainers.image.title="Unbroken" \
      org.opencontainers.image.licenses="Apache-2.0"
# The group as well: Celery takes a process whose group has no name for the superuser's.
RUN groupadd --system --gid 10001 unbroken \
 && useradd --system --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin unbroken
COPY --from=build /venv /venv
COPY --from=build /app /app
WORKDIR /app
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001
EXPOSE 8000
CMD ["unbroken", "--help"]
