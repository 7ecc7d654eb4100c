# `aae-zoo serve` as an image, of the wheel that this checkout builds; docs/serving.md says how to run it.
ARG PYTHON=3.12

FROM python:${PYTHON}-slim AS build
WORKDIR /src
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .
RUN python -m venv /opt/aae-zoo && \
    /opt/aae-zoo/bin/pip install --no-cache-dir "$(echo /wheels/aae_zoo-*.whl)[cpu,serve]"

FROM python:${PYTHON}-slim
COPY --from=build /opt/aae-zoo /opt/aae-zoo
ENV PATH=/opt/aae-zoo/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 AAE_ZOO_CACHE=/cache
# Shipped models need no file to be written; a volume that is mounted here for others has this owner.
RUN install --directory --owner=10001 --group=10001 /cache
# A number, by which Kubernetes sees that it is not root.
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/v2/health/ready', timeout=2)"]
ENTRYPOINT ["aae-zoo", "serve", "--host", "0.0.0.0", "--port", "8000"]
CMD ["mnist-gauss"]
