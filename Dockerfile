# Two stages: build the wheel, then install it and its pinned, hashed dependencies into a small image.
FROM python:3.11-slim AS build
WORKDIR /src
COPY requirements/ requirements/
RUN python -m venv /opt/build && /opt/build/bin/pip install --no-cache-dir --require-hashes -r requirements/dev.txt
COPY . .
RUN /opt/build/bin/python -m whitenoise.compress --quiet --no-brotli static
RUN /opt/build/bin/python -m build --wheel --no-isolation --outdir /dist

FROM python:3.11-slim
RUN useradd --system --create-home --home-dir /var/lib/licenzy licenzy
COPY requirements/run.txt /tmp/run.txt
COPY --from=build /dist/*.whl /tmp/
RUN pip install --no-cache-dir --require-hashes -r /tmp/run.txt \
    && pip install --no-cache-dir --no-deps /tmp/*.whl \
    && rm /tmp/*.whl /tmp/run.txt

USER licenzy
WORKDIR /var/lib/licenzy
# The folder for the database and the secrets of a first run: mount a volume here, or set
# LICENZY_DATABASE_URL, LICENZY_SECRET_KEY and LICENZY_ENCRYPTION_KEYS.
ENV LICENZY_INSTANCE=/var/lib/licenzy/instance \
    LICENZY_HOST=0.0.0.0 \
    LICENZY_SANDBOX=off \
    PYTHONUNBUFFERED=1
RUN mkdir -m 700 instance
VOLUME /var/lib/licenzy/instance
EXPOSE 8000
STOPSIGNAL SIGTERM
# Set LICENZY_BASE_URL to the public address: it does not start without.
CMD ["licenzy", "serve"]
