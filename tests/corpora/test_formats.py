"""Files of tokens: every format is read as its program writes it, and what looks like another one is refused."""

import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mutransfer.config import Arm, Scale, SweepConfig
from mutransfer.data import Shards, corpus, load_corpus, sample_batch
from mutransfer.data.formats import read_tokens
from mutransfer.training.batches import draw_batches

RANDOM = np.random.default_rng(0)
TOKENS = RANDOM.integers(0, 50_257, 6000)


def llm_c(path: Path, tokens: np.ndarray, magic: int = 20240520, dtype: str = "<u2") -> Path:
    header = np.zeros(256, "<i4")
    header[:3] = magic, 1, len(tokens)
    path.write_bytes(header.tobytes() + tokens.astype(dtype).tobytes())
    return path


def npy(path: Path, tokens: np.ndarray) -> Path:
    np.save(path.with_suffix(".npy"), tokens.astype("<u4"))
    return path.with_suffix(".npy")


def megatron(path: Path, tokens: np.ndarray) -> Path:
    tokens.astype("<i4").tofile(path)
    sizes = np.array([len(tokens)], "<i4")
    head = b"MMIDIDX\x00\x00" + struct.pack("<QBQQ", 1, 4, 1, 2)
    path.with_suffix(".idx").write_bytes(head + sizes.tobytes() + bytes(8) + np.array([0, 1], "<i8").tobytes())
    return path


def parquet(path: Path, tokens: np.ndarray) -> Path:
    documents = [part.tolist() for part in np.array_split(tokens, 7)]
    pq.write_table(pa.table({"input_ids": documents, "length": [len(each) for each in documents]}), path)
    return path


WRITERS: dict[str, Callable[[Path], Path]] = {
    "nanoGPT": lambda path: (TOKENS.astype("<u2").tofile(path), path)[1],
    "llm.c": lambda path: llm_c(path, TOKENS),
    "llm.c, Llama 3": lambda path: llm_c(path, TOKENS, 20240801, "<u4"),
    "NumPy": lambda path: npy(path, TOKENS),
    "Megatron-LM": lambda path: megatron(path, TOKENS),
    "Parquet": lambda path: parquet(path, TOKENS),
}


@pytest.mark.parametrize("program", WRITERS)
def test_every_format_holds_the_same_tokens(program: str, tmp_path: Path) -> None:
    path = WRITERS[program](tmp_path / "train.bin")
    found = load_corpus(f"tokens:{path}")
    read = sample_batch(found.train, seed=0, step=0, batch_size=3, context=20)
    assert (read == sample_batch(TOKENS[: len(found.train)], 0, 0, 3, 20)).all()
    assert (len(found.train), len(found.val)) == (5700, 300)
    assert found.vocab == TOKENS.max() + 1


@pytest.mark.parametrize(
    ("written", "said", "looks"),
    [
        ("<u4", "", "uint32"),
        ("<u4", ":uint16", "uint32"),
        ("<i8", "", "int64"),
        ("<i8", ":uint32", "int64"),
        ("<u2", ":uint32", "uint16"),
    ],
)
@pytest.mark.parametrize("vocabulary", [50_257, 151_936])
def test_a_file_of_another_type_is_refused_with_its_type(
    written: str, said: str, looks: str, vocabulary: int, tmp_path: Path
) -> None:
    path = tmp_path / "train.bin"
    RANDOM.integers(0, vocabulary, 4000).astype(written).tofile(path)
    with pytest.raises(ValueError, match=f"it looks like {looks}: give tokens:{path}:{looks}"):
        load_corpus(f"tokens:{path}{said}")
    assert load_corpus(f"tokens:{path}:{looks}").train.dtype.itemsize == np.dtype(looks).itemsize


@pytest.mark.parametrize(
    "tokens", [RANDOM.integers(32, 127, 4000), RANDOM.zipf(1.3, 4000) % 50_257, np.zeros(4000), np.arange(4000) % 12]
)
def test_flat_uint16_files_are_taken_for_what_they_are(tokens: np.ndarray, tmp_path: Path) -> None:
    tokens.astype("<u2").tofile(tmp_path / "train.bin")
    assert load_corpus(f"tokens:{tmp_path / 'train.bin'}").train.dtype == np.uint16


@pytest.mark.parametrize(
    ("content", "looks"),
    [
        (b"It was the best of times, it was the worst of times\n" * 10, "text: give text:"),
        (b"\x1f\x8b\x08\x00" + bytes(200), "a gzip file: unpack it"),
        (b"PK\x03\x04" + bytes(200), "a zip archive"),
        (pickle.dumps(list(range(200))), "a pickle, which may run code"),
    ],
)
def test_what_holds_no_tokens_is_refused_by_what_it_looks_like(content: bytes, looks: str, tmp_path: Path) -> None:
    (tmp_path / "train.bin").write_bytes(content)
    with pytest.raises(ValueError, match=f"it looks like {looks}"):
        load_corpus(f"tokens:{tmp_path / 'train.bin'}")


def test_a_header_that_promises_more_than_there_is_is_refused(tmp_path: Path) -> None:
    path = llm_c(tmp_path / "train.bin", TOKENS)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"expected 6000 tokens .* got 5950"):
        read_tokens(path)
    with pytest.raises(ValueError, match=r"its format, llm\.c, says it; remove :uint16"):
        read_tokens(path, "uint16")


def test_a_folder_of_shards_is_one_sequence_and_its_val_shards_are_held_out(tmp_path: Path) -> None:
    parts = np.array_split(TOKENS, 4)
    for number, part in enumerate(parts[:3]):
        llm_c(tmp_path / f"fineweb_train_{number:06d}.bin", part)
    llm_c(tmp_path / "fineweb_val_000000.bin", parts[3])
    for spec in (f"tokens:{tmp_path}", f"tokens:{tmp_path}/fineweb_*.bin"):
        found = load_corpus(spec)
        assert isinstance(found.train, Shards)
        whole = np.concatenate(parts[:3])
        assert (
            found.train.windows(np.array([0, 1490, 1495, 4490]), 10)
            == [whole[at : at + 10] for at in (0, 1490, 1495, 4490)]
        ).all()
        assert (found.val.windows(np.array([7]), 5) == parts[3][7:12]).all()
        drawn = sample_batch(found.train, 1, 2, 8, 700)
        assert (drawn == sample_batch(whole, 1, 2, 8, 700)).all()
    train_alone = load_corpus(f"tokens:{tmp_path}/fineweb_train*")
    assert len(train_alone.train) + len(train_alone.val) == len(whole)


def test_a_corpus_in_files_goes_to_another_process_as_its_name(tmp_path: Path) -> None:
    path = tmp_path / "train.bin"
    np.resize(TOKENS, 500_000).astype("<u2").tofile(path)
    found = load_corpus(f"tokens:{path}")
    sent = pickle.dumps(found)
    assert len(sent) < 1000
    again = pickle.loads(sent)  # noqa: S301
    assert isinstance(again.train, np.memmap)
    assert (again.train == found.train).all()
    assert again.fingerprint == found.fingerprint
    plain = pickle.loads(pickle.dumps(found.in_memory()))  # noqa: S301
    assert (plain.train.windows(np.array([5]), 9) == found.train[5:14]).all()
    corpus._reopen.cache_clear()
    np.resize(TOKENS[::-1], 500_000).astype("<u2").tofile(path)
    with pytest.raises(ValueError, match="give every machine the same files"):
        pickle.loads(sent)  # noqa: S301


def test_the_start_of_a_large_corpus_reads_samples_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "train.bin"
    with path.open("wb") as file:
        TOKENS.astype("<u2").tofile(file)
        file.truncate(20_000_000_000)  # of which the file system keeps nothing
    looked = []
    monkeypatch.setattr(corpus.np, "ascontiguousarray", lambda block: (looked.append(block.nbytes), block)[1])
    found = load_corpus(f"tokens:{path}")
    assert found.sampled
    assert sum(looked) == corpus.SAMPLES * corpus.SAMPLE
    assert len(found.train) + len(found.val) == 10_000_000_000
    first = found.fingerprint
    with path.open("r+b") as file:
        file.truncate(19_999_999_000)
    assert load_corpus(f"tokens:{path}").fingerprint != first


def test_a_token_that_no_sample_saw_is_refused_when_it_is_drawn(tmp_path: Path) -> None:
    path = tmp_path / "train.bin"
    np.full(5000, 300, "<u2").tofile(path)
    found = load_corpus(f"tokens:{path}")
    small = SweepConfig().trial(Arm("sp", "sp"), Scale(32), 0.01, 0)
    with pytest.raises(ValueError, match=r"expected tokens below model\.vocab 256 .* got 300"):
        next(draw_batches(found, [small], range(1), "cpu"))
