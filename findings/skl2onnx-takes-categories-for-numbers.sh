#!/usr/bin/env bash
# skl2onnx 1.20.0 converts a HistGradientBoosting with categories without a word, and reads their codes as numbers.
#
# Expected: the converter refuses `categorical_features`, or writes equality branches, as onnxmltools does for LightGBM.
# Seen: with protobuf 6.33.6 a quarter of the labels differ, and an R2 of 0.98 becomes -2.2, on the very rows that the
# model was fitted on. Without categories both agree within 1e-7, missing values included.
# Treelite 4.8.1 reads the same fitted model exactly. With protobuf 7.36.2, which a fresh installation gets, no
# HistGradientBoosting at all can be converted ("Expected an int, got a boolean").
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check skl2onnx==1.20.0 onnx==1.23.2 onnxruntime==1.32.0 \
  scikit-learn==1.9.1 treelite==4.8.1 protobuf==6.33.6
cd "$work"
cat > seen.py <<'PYTHON'
import numpy as np
import onnxruntime
import skl2onnx
import sklearn
import treelite
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.metrics import r2_score

assert (skl2onnx.__version__, sklearn.__version__, treelite.__version__) == ("1.20.0", "1.9.1", "4.8.1")
onnxruntime.set_default_logger_severity(3)
random = np.random.default_rng(0)
number = random.normal(size=4_000).astype(np.float32)
code = random.integers(0, 12, 4_000).astype(np.float32)
rows = np.column_stack([number, code])
label = ((code % 3 == 0) ^ (number > 0)).astype(int)


def by_onnx(model, rows, **options):
    session = onnxruntime.InferenceSession(
        skl2onnx.to_onnx(model, rows[:1], **options).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"X": rows})


with_gaps = np.where(random.random(rows.shape) < 0.1, np.float32("nan"), rows)
numbers = HistGradientBoostingClassifier(max_iter=20).fit(with_gaps, label)
_, shares = by_onnx(numbers, with_gaps, options={"zipmap": False})
gap = np.abs(shares - numbers.predict_proba(with_gaps)).max()
print(f"numbers only: largest difference {gap:.1e}")
assert gap < 1e-6

categories = HistGradientBoostingClassifier(max_iter=20, categorical_features=[1]).fit(rows, label)
labels, _ = by_onnx(categories, rows, options={"zipmap": False})
wrong = float(np.mean(labels != categories.predict(rows)))
exact = treelite.gtil.predict(treelite.sklearn.import_model(categories), rows.astype(np.float64)).reshape(4_000, -1)
print(f"a category: {wrong:.1%} of the labels differ; by treelite {np.abs(exact[:, -1] - categories.predict_proba(rows)[:, 1]).max():.0e}")
assert wrong > 0.2
assert np.abs(exact[:, -1] - categories.predict_proba(rows)[:, 1]).max() < 1e-12

amount = label + number
fitted = HistGradientBoostingRegressor(max_iter=20, categorical_features=[1]).fit(rows, amount)
converted = by_onnx(fitted, rows)[0].ravel()
print(f"R2 on the rows of the fit: {r2_score(amount, fitted.predict(rows)):.3f}, converted {r2_score(amount, converted):.3f}")
assert r2_score(amount, fitted.predict(rows)) > 0.95 and r2_score(amount, converted) < 0
PYTHON
"$work/venv/bin/python" seen.py
"$work/venv/bin/pip" install --quiet --disable-pip-version-check protobuf==7.36.2 2>/dev/null
"$work/venv/bin/python" - <<'PYTHON'
import google.protobuf
import numpy as np
import skl2onnx
from sklearn.ensemble import HistGradientBoostingRegressor

assert google.protobuf.__version__ == "7.36.2"
rows = np.random.default_rng(0).normal(size=(200, 2)).astype(np.float32)
try:
    skl2onnx.to_onnx(HistGradientBoostingRegressor(max_iter=5).fit(rows, rows[:, 0]), rows[:1])
except ValueError as error:
    print(f"protobuf 7.36.2: {error.__cause__}")
    assert "Expected an int, got a boolean" in str(error.__cause__)
else:
    raise SystemExit("protobuf 7.36.2: converted")
print("as recorded")
PYTHON
