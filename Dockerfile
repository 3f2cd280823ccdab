# The production Airflow image: scheduler, DAG processor, triggerer, API server and workers. No development equipment.
FROM python:3.11-slim-bookworm AS wheel
WORKDIR /src
RUN pip install --no-cache-dir build==1.6.1
COPY pyproject.toml LICENSE ./
COPY include/adrank include/adrank
RUN python -m build --wheel --outdir /wheels

FROM apache/airflow:3.3.2-python3.11
USER root
# The Spark provider's spark-submit needs a Java runtime.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends openjdk-17-jre-headless \
    && rm -rf /var/lib/apt/lists/*
USER airflow
COPY --chown=airflow:root requirements.txt /requirements.txt
RUN pip install --no-cache-dir --requirement /requirements.txt
COPY --from=wheel /wheels /wheels
RUN pip install --no-cache-dir --no-deps /wheels/*.whl
COPY --chown=airflow:root dags /opt/airflow/dags
COPY --chown=airflow:root plugins /opt/airflow/plugins
