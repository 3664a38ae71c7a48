"""Puts this folder on the path, for `keras_models`; settles Keras's backend for every process, and keeps it quiet."""

from __future__ import annotations

import os

os.environ["KERAS_BACKEND"] = "tensorflow"  # what a module or a user's keras.json names must not change results
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
