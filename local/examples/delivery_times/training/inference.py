"""What SageMaker's scikit-learn image calls: ``[km, parcels]`` in, minutes out, both as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import joblib


def model_fn(folder: str) -> Any:
    """Load the model of model.tar.gz."""
    return joblib.load(Path(folder) / "model.joblib")


def transform_fn(model: Any, body: str, content_type: str, accept: str) -> tuple[str, str]:
    """Answer one request."""
    (minutes,) = model.predict([json.loads(body)])
    return json.dumps(float(minutes)), "application/json"
