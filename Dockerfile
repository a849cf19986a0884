# docker build -t facealign . && docker run --rm -v "$PWD:/data" facealign detect image photo.jpg
FROM python:3.12-slim AS build
WORKDIR /src
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.12-slim
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir "$(ls /wheels/*.whl)[video,parquet]" && rm -r /wheels \
    && useradd --create-home --uid 1000 facealign
USER facealign
WORKDIR /data
ENTRYPOINT ["facealign"]
CMD ["--help"]
