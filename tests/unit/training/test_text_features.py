"""Texts and many-valued categories as numbers: alike in training and serving, blind to a row's own target."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.training.job_folders import read_json, run_job, write_job

import inference
import text_learning
from dropforge.domain.contract import LEARNED, MAXIMUM_TEXTS, Column, Contract
from dropforge.domain.encoding import Encoding, matrix_columns
from dropforge.domain.errors import InvalidContract, InvalidModel
from dropforge.domain.instances import columns_of_json, json_value
from dropforge.domain.text_features import MAXIMUM_CHARACTERS, WIDTH, hashed, names

WORDS = ("red", "green", "blue", "small", "large", "old", "new", "fast")
CLASSES = ("no", "yes")


def contract_of(*columns: Column, classes: tuple[str, ...] | None = CLASSES) -> Contract:
    if classes is None:
        return Contract("y", None, "regression", None, (*columns, Column("y", "number", "target")))
    task = "binary" if len(classes) == 2 else "multiclass"
    return Contract("y", None, task, classes, (*columns, Column("y", "category", "target")))


def texts_of(values: Sequence[str | None]) -> Any:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def learned(contract: Contract, columns: Mapping[str, Any], target: Any, groups: Any = None) -> Any:
    """Return the encoding of a table that is read in two pieces, and the matrix of its rows."""
    cut = len(target) // 3
    pieces = [
        {name: labelled(values[part]) for name, values in columns.items()}
        for part in (slice(cut), slice(cut, None))
    ]
    encoding, own = text_learning.learn(contract, lambda _: pieces, target, groups)
    return encoding, encoding.encode(columns, own)


def labelled(values: Any) -> Any:
    return inference.labels_of(pa.array(values, pa.string())) if values.dtype == object else values


TEXT = contract_of(Column("text", "text", nullable=True))
MANY = contract_of(Column("city", "category", nullable=True, encoding=LEARNED))


def sentences(rows: int, seed: int) -> tuple[Any, Any]:
    """Texts of which one word decides on the class in nine of ten rows."""
    random = np.random.default_rng(seed)
    words = random.choice(np.array(WORDS, dtype=object), (rows, 5))
    target = ((words == "red").any(axis=1) ^ (random.random(rows) < 0.1)).astype(np.int64)
    return texts_of([" ".join(each) for each in words]), target


@given(st.lists(st.none() | st.text(max_size=90), min_size=1, max_size=12), st.integers(0, 11))
@settings(max_examples=60)
def test_a_texts_places_are_the_same_whatever_texts_come_with_it(texts: list[str | None], place: int) -> None:
    place %= len(texts)
    (together,), (alone,) = hashed(texts, True), hashed([texts[place]], True)
    assert np.array_equal(together.words[together.rows == place], alone.words)
    assert together.hashes[place] == alone.hashes[0]
    assert together.values[place] == alone.values[0]
    assert ((together.words >= 0) & (together.words < WIDTH)).all()


def test_words_are_told_apart_from_their_neighbours_and_from_case():
    texts = ["A long-winded text", "a LONG winded text", "another " * 30]
    (chunk,) = hashed(texts, True)
    one, other, apart = (set(chunk.words[chunk.rows == n].tolist()) for n in range(3))
    assert len(one & other) > len(one) / 2
    assert not one & apart


def test_long_inputs_are_cut_and_split_into_chunks_without_a_trace():
    texts = ["word " * (MAXIMUM_CHARACTERS // 2)] * 300
    chunks = list(hashed([*texts, "x"], True))
    assert len(chunks) > 1
    sizes = np.concatenate([chunk.sizes for chunk in chunks])
    assert len(sizes) == 301
    assert set(sizes[:300].tolist()) == {3}  # the value, the word, and the word beside itself
    assert len({int(chunk.values[0]) for chunk in chunks[:-1]}) == 1


@pytest.mark.parametrize("contract", [TEXT, MANY], ids=["text", "many categories"])
@given(texts=st.lists(st.none() | st.sampled_from(WORDS) | st.text(max_size=40), min_size=1, max_size=8))
@settings(max_examples=25)
def test_a_stored_encoding_gives_a_request_the_bits_that_training_gave(
    contract: Contract, texts: list[str | None]
) -> None:
    feature = contract.features[0]
    values, target = sentences(200, 3)
    encoding, _ = learned(contract, {feature.name: values}, target)
    stored = Encoding.from_json(encoding.to_json(), contract)
    reader = contract.reader(feature.name)
    read = texts_of([None if text is None else reader.read(text) for text in texts])
    instances = [{feature.name: json_value(feature, text)} for text in read]
    body = json.dumps({"instances": instances}).encode()
    served = stored.encode(columns_of_json(contract, body))
    assert served.tobytes() == encoding.encode({feature.name: read}).tobytes()
    assert served.shape[1] == len(matrix_columns(contract))


@pytest.mark.parametrize("contract", [TEXT, MANY], ids=["text", "many categories"])
def test_a_rows_own_target_says_nothing_of_it(contract: Contract) -> None:
    name = contract.features[0].name
    values, target = sentences(400, 5)
    values = texts_of([f"{text} {n % 40}" for n, text in enumerate(values)])
    _, before = learned(contract, {name: values}, target)
    for row in (0, 17, 333):
        turned = target.copy()
        turned[row] = 1 - turned[row]
        _, after = learned(contract, {name: values}, turned)
        # The mean over all rows stands for values that no other fold has: one row moves it by 1 / 400.
        assert np.allclose(after[row], before[row], atol=1 / 400, equal_nan=True)
    assert np.abs(after - before).max() > 1e-3 or contract is MANY


def test_rows_of_a_group_and_equal_rows_lie_in_one_fold():
    values = texts_of([f"shop {n % 30}" for n in range(600)])
    target = np.random.default_rng(1).integers(0, 2, 600)
    groups = np.arange(600) % 30  # a value is a group, so no other fold has it
    contract = contract_of(Column("city", "category", encoding=LEARNED))
    for each in (groups, None):
        _, matrix = learned(contract, {"city": values}, target, each)
        assert (matrix[:, 1] == 0.0).all()  # how often other folds have the value


def test_rows_that_are_split_one_by_one_are_dealt_one_by_one():
    column = Column("city", "category", encoding=LEARNED)
    target = Column("y", "category", "target")
    contract = Contract("y", None, "binary", CLASSES, (column, target), split_by=())
    values = texts_of([f"shop {n % 30}" for n in range(600)])
    _, matrix = learned(contract, {"city": values}, np.arange(600) % 30 % 2)
    assert (matrix[:, 1] > np.log1p(10)).all()
    assert np.corrcoef(matrix[:, 2], np.arange(600) % 30 % 2)[0, 1] > 0.95


def test_a_random_column_of_many_values_gains_nothing_on_rows_that_were_not_fitted():
    random = np.random.default_rng(7)
    for contract, values in (
        (MANY, [f"v{n}" for n in random.integers(0, 1500, 4000)]),
        (TEXT, [" ".join(f"w{n}" for n in random.integers(0, 3000, 6)) for _ in range(4000)]),
    ):
        name = contract.features[0].name
        target = random.integers(0, 2, 4000)
        encoding, fitted = learned(contract, {name: texts_of(values[:3000])}, target[:3000])
        held_out = encoding.encode({name: texts_of(values[3000:])})
        for matrix, of in ((fitted, target[:3000]), (held_out, target[3000:])):
            told = np.nan_to_num(matrix[:, -1])
            correlation = np.corrcoef(told, of)[0, 1] if told.std() else 0.0
            assert abs(correlation) < 4 / np.sqrt(len(of))


def test_what_words_say_is_learned_and_holds_for_texts_never_seen():
    values, target = sentences(1500, 11)
    fitted, held_out = slice(1000), slice(1000, None)
    encoding, _ = learned(TEXT, {"text": values[fitted]}, target[fitted])
    told = encoding.encode({"text": values[held_out]})[:, -1]
    assert np.corrcoef(told, target[held_out])[0, 1] > 0.6


def test_a_missing_text_is_missing_and_an_empty_table_has_its_columns():
    values, target = sentences(100, 2)
    encoding, matrix = learned(TEXT, {"text": texts_of([None, *values[1:]])}, target)
    assert np.isnan(matrix[0]).all()
    assert np.isnan(encoding.encode({"text": texts_of([None])})).all()
    assert encoding.encode({"text": texts_of([])}).shape == (0, 3)


def test_classes_beyond_ten_share_numbers_in_turn():
    classes = tuple(sorted(f"c{n:02}" for n in range(25)))
    contract = contract_of(Column("text", "text"), classes=classes)
    assert len(matrix_columns(contract)) == 2 + 10
    target = np.arange(500) % 25
    values = texts_of([f"about {classes[n]} and more {place}" for place, n in enumerate(target)])
    encoding, matrix = learned(contract, {"text": values}, target)
    assert (matrix[:, 2:].argmax(axis=1) == target % 10).mean() > 0.95
    assert names(True, classes)[2] == "words: classes 1, 11, …"
    assert Encoding.from_json(encoding.to_json(), contract).encode({"text": values}).shape == (500, 12)


def test_tables_without_such_columns_are_encoded_as_ever():
    contract = contract_of(Column("x", "number"), Column("city", "category"))
    columns = {"x": np.arange(4.0), "city": texts_of(["a", "b", "a", None])}
    encoding, matrix = learned(contract, columns, np.array([0, 1, 0, 1]))
    assert json.loads(encoding.to_json()) == {"format": 1, "vocabularies": {"city": ["a", "b"]}}
    assert np.array_equal(matrix, encoding.encode(columns), equal_nan=True)


def test_a_stored_encoding_that_lacks_what_was_learned_is_refused():
    values, target = sentences(100, 2)
    encoding, _ = learned(TEXT, {"text": values}, target)
    content = json.loads(encoding.to_json())
    for broken in (
        {**content, "texts": {}},
        {**content, "format": 1},
        {**content, "texts": {"text": {**content["texts"]["text"], "told": "AAAA"}}},
    ):
        with pytest.raises(InvalidModel):
            Encoding.from_json(json.dumps(broken), TEXT)


def test_private_columns_and_too_many_are_not_learned_from():
    for column, said in (
        (Column("text", "text", privacy="drop"), "not learned from where it is private"),
        (Column("city", "category", privacy="hash", encoding=LEARNED), "leave its encoding out"),
        (Column("x", "number", encoding=LEARNED), "only a category column"),
        (Column("city", "category", encoding="codes"), "must be 'target'"),
    ):
        with pytest.raises(InvalidContract, match=said):
            contract_of(column)
    with pytest.raises(InvalidContract, match=f"at most {MAXIMUM_TEXTS}"):
        contract_of(*(Column(f"t{n}", "text") for n in range(MAXIMUM_TEXTS + 1)))


def test_a_job_learns_from_texts_keeps_none_of_them_and_tells_what_became_of_them(tmp_path):
    import pandas as pd

    values, target = sentences(600, 9)
    noise = np.random.default_rng(4).normal(size=600)
    frame = pd.DataFrame({"text": [f"{text} zebrafish" for text in values], "x": noise})
    frame["y"] = np.array(CLASSES)[target]
    contract = contract_of(Column("text", "text"), Column("x", "number"))
    roots = [tmp_path / "one", tmp_path / "two"]
    for root in roots:
        write_job(root, contract, frame, {"seed": "1"})
        run_job(root)
    report, again = (read_json(root / "output" / "data" / "training_report.json") for root in roots)
    assert report["model_digest"] == again["model_digest"]
    assert report["validation"]["auc"] > 0.85
    assert report["learned"] == {"text": ["frequency", "length", "words"]}
    assert report["importance"]["text"]["mean"] > 0.2 > report["importance"]["x"]["mean"]
    for path in (*(roots[0] / "model").glob("*.*"), roots[0] / "output" / "data" / "training_report.json"):
        assert b"zebrafish" not in path.read_bytes(), path
