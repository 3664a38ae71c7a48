"""Puts this folder on the path, for `keras_models`, and keeps TensorFlow quiet."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
