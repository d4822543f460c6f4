# CPU: docker build -t avsf_det .
# GPU: docker build -t avsf_det --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu128 .
#      docker run --gpus all --shm-size 8g -v $PWD/datasets:/data/datasets avsf_det avsf-train ...
ARG PYTHON=3.12
FROM python:${PYTHON}-slim

ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN pip install --no-cache-dir --index-url ${TORCH_INDEX} "torch<2.15" torchvision torchaudio

COPY . /src
RUN pip install --no-cache-dir /src && avsf-install-detectron2 && rm -r /src

WORKDIR /data
ENV DETECTRON2_DATASETS=/data/datasets
CMD ["avsf-train", "--help"]
