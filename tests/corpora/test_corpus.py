"""Corpora and batches."""

import sys
from pathlib import Path

import numpy as np
import pytest

from mutransfer.data import load_corpus, sample_batch, validation_batches


def test_the_standard_library_is_real_text_without_its_tests() -> None:
    corpus = load_corpus("stdlib")
    text = bytes(corpus.train)
    assert len(corpus.train) > 5_000_000
    assert corpus.vocab == 256
    assert b"class OrderedDict" in text + bytes(corpus.val)
    assert b"class TestCase(unittest.TestCase)" not in text
    assert load_corpus("stdlib").fingerprint == corpus.fingerprint


def test_the_validation_split_is_a_tail_that_training_never_sees(tmp_path: Path) -> None:
    file = tmp_path / "text"
    data = bytes(range(256)) * 40
    file.write_bytes(data)
    corpus = load_corpus(f"text:{file}")
    assert bytes(corpus.train) + bytes(corpus.val) == data
    assert len(corpus.val) == len(data) // 20


def test_the_fingerprint_follows_the_bytes(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"a" * 5000)
    two.write_bytes(b"a" * 4999 + b"b")
    first = load_corpus(f"text:{one}").fingerprint
    assert first != load_corpus(f"text:{two}").fingerprint
    two.write_bytes(one.read_bytes())
    assert first == load_corpus(f"text:{two}").fingerprint


def test_tokens_are_memory_mapped_uint16(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    np.arange(4000, dtype="<u2").tofile(file)
    corpus = load_corpus(f"tokens:{file}")
    assert isinstance(corpus.train, np.memmap)
    assert corpus.vocab == 4000
    corpus.check(context=64, vocab=4000)
    with pytest.raises(ValueError, match=r"token 3999.*set model.vocab to 4000"):
        corpus.check(context=64, vocab=256)


def test_a_batch_depends_on_tokens_seed_and_step_alone() -> None:
    tokens = np.arange(10_000, dtype=np.uint16)
    batch = sample_batch(tokens, seed=3, step=7, batch_size=4, context=16)
    assert batch.shape == (4, 17)
    assert batch.dtype == np.int64
    assert (np.diff(batch, axis=1) == 1).all()
    assert (batch == sample_batch(tokens, 3, 7, 4, 16)).all()
    assert (batch[:, 0] != sample_batch(tokens, 3, 8, 4, 16)[:, 0]).all()
    assert (batch[:, 0] != sample_batch(tokens, 4, 7, 4, 16)[:, 0]).all()


def test_batches_reach_every_window() -> None:
    tokens = np.arange(20, dtype=np.uint8)
    starts = np.concatenate([sample_batch(tokens, 0, step, 8, 16)[:, 0] for step in range(100)])
    assert set(starts) == set(range(4))


def test_validation_batches_are_spread_from_end_to_end() -> None:
    tokens = np.arange(5000, dtype=np.uint16)
    batches = np.stack(list(validation_batches(tokens, batches=3, batch_size=5, context=16)))
    assert batches.shape == (3, 5, 17)
    assert batches[0, 0, 0] == 0
    assert batches[-1, -1, -1] == 4999
    assert (batches == np.stack(list(validation_batches(tokens, 3, 5, 16)))).all()
    (only,) = validation_batches(tokens, 1, 1, 16)
    assert only[0, 0] == 0


@pytest.mark.parametrize("spec", ["text:missing.txt", "tokens:missing.bin"])
def test_a_missing_file_is_refused(spec: str) -> None:
    with pytest.raises(ValueError, match="found no file missing"):
        load_corpus(spec)


def test_bad_corpora_are_refused(tmp_path: Path) -> None:
    empty, short, odd = tmp_path / "empty", tmp_path / "short", tmp_path / "odd"
    empty.touch()
    short.write_bytes(b"a few words")
    odd.write_bytes(b"abc")
    with pytest.raises(ValueError, match="empty file"):
        load_corpus(f"text:{empty}")
    with pytest.raises(ValueError, match=r"found 11 training tokens.*at least context \+ 1 = 65"):
        load_corpus(f"text:{short}").check(context=64, vocab=256)
    with pytest.raises(ValueError, match="3 bytes"):
        load_corpus(f"tokens:{odd}")
    for spec in ("stdlb", "text:", "url:wikitext"):
        with pytest.raises(ValueError, match="wanted a known source"):
            load_corpus(spec)


TEXTS = ["Ein Dokument.", "", "Zwei: \u00fc\u00f6\u00e4.", "Three\nlines."] * 40
JOINED = b"".join(text.encode() + b"\n" for text in TEXTS if text)


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "file", "saved"])
@pytest.mark.usefixtures("hub_cache")
def test_a_hugging_face_dataset_is_the_bytes_of_its_text(kind: str, tmp_path: Path) -> None:
    import datasets

    table = datasets.Dataset.from_dict({"id": list(range(len(TEXTS))), "text": TEXTS})
    folder = tmp_path / "set"
    folder.mkdir()
    if kind == "parquet":
        table.to_parquet(folder / "train.parquet")
    elif kind == "saved":
        datasets.DatasetDict(train=table, test=table.select(range(3))).save_to_disk(folder)
    else:
        table.to_json(folder / "part.jsonl")
    found = load_corpus(f"hf:{folder / 'part.jsonl' if kind == 'file' else folder}")
    (tmp_path / "joined").write_bytes(JOINED)
    plain = load_corpus(f"text:{tmp_path / 'joined'}")
    assert (found.fingerprint, found.vocab) == (plain.fingerprint, 256)
    assert bytes(found.train) + bytes(found.val) == JOINED


@pytest.mark.parametrize(
    ("columns", "found"),
    [
        ({"title": ["a"], "body": ["b"]}, "title, body"),
        ({"number": [1]}, "columns of strings none"),
        ({"text": [""]}, "no text in the column text"),
    ],
)
@pytest.mark.usefixtures("hub_cache")
def test_a_dataset_without_one_text_is_refused(columns: dict[str, list[object]], found: str, tmp_path: Path) -> None:
    import datasets

    datasets.Dataset.from_dict(columns).save_to_disk(tmp_path / "set")
    with pytest.raises(ValueError, match=found) as error:
        load_corpus(f"hf:{tmp_path / 'set'}")
    assert "\n" not in str(error.value)


@pytest.mark.usefixtures("hub_cache")
def test_the_only_column_of_strings_is_the_text(tmp_path: Path) -> None:
    import datasets

    datasets.Dataset.from_dict({"content": ["abc"] * 30, "n": [1] * 30}).save_to_disk(tmp_path / "set")
    assert bytes(load_corpus(f"hf:{tmp_path / 'set'}").train)[:8] == b"abc\nabc\n"


@pytest.mark.usefixtures("hub_cache")
def test_what_is_no_dataset_is_told_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"found no .*nowhere"):
        load_corpus(f"hf:{tmp_path / 'nowhere'}")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "train.parquet").write_bytes(b"no parquet")
    with pytest.raises(ValueError, match="broken' cannot be loaded") as error:
        load_corpus(f"hf:{tmp_path / 'broken'}")
    assert "\n" not in str(error.value)
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ValueError, match=r"pip install 'mutransfer\[hf\]'"):
        load_corpus("hf:any")
