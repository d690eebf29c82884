"""Corpora: what is trained on, by a name such as `stdlib` or `tokens:PATH`.

A corpus in files is memory-mapped, and goes to another process as its name: whoever receives it maps the same files
again. So neither the driver nor a worker ever holds a copy, however large the files are.
"""

from __future__ import annotations

import glob
import hashlib
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from mutransfer.checks import nearest
from mutransfer.data.formats import DTYPES, read_tokens
from mutransfer.data.shards import Array, Shards, Tokens, parts_of, slice_of

VALIDATION_FRACTION = 0.05
"""Tail of every corpus that training never sees."""

SOURCES = ("stdlib", "text:PATH", "tokens:PATH", "hf:NAME")

STRINGS = ("string", "large_string")
"""What `datasets` calls them."""

WHOLE = 1 << 26
"""Bytes up to which all of a corpus is read for its fingerprint; of a larger one, samples."""
SAMPLES, SAMPLE = 256, 1 << 16
"""How many samples, evenly spread over each file, and bytes of each."""


@dataclass(frozen=True, eq=False)
class Corpus:
    """A corpus split into `train` and `val` tokens, with its fingerprint: a digest of all of it, or of the sizes and of
    samples where it is larger than WHOLE bytes (`sampled`). `vocab` is the largest token that was seen, plus 1."""

    name: str
    fingerprint: str
    vocab: int
    train: Tokens
    val: Tokens
    mapped: bool = False
    """Whether it lies in files that are mapped into memory."""
    sampled: bool = False
    format: str = ""
    """That of its files, where they hold tokens."""

    def check(self, context: int, vocab: int) -> None:
        """Raises ValueError if a split is shorter than one sequence, or a token lies outside the model's vocabulary."""
        for split, tokens in (("training", self.train), ("validation", self.val)):
            if len(tokens) < context + 1:
                needed = round((context + 1) / VALIDATION_FRACTION) + 1
                raise ValueError(
                    f"found {len(tokens)} {split} tokens in {self.name}; wanted at least context + 1 = {context + 1}: "
                    f"give a corpus of {needed} tokens or more, or lower model.context"
                )
        if self.vocab > vocab:
            raise ValueError(
                f"found token {self.vocab - 1} in {self.name}; wanted tokens below model.vocab {vocab}: "
                f"set model.vocab to {self.vocab} or more"
            )

    def in_memory(self) -> Corpus:
        """This corpus as plain arrays, which any process can be sent: for workers that do not see its files."""
        train, val = (Shards([np.asarray(part) for part in parts_of(tokens)]) for tokens in (self.train, self.val))
        return Corpus(self.name, self.fingerprint, self.vocab, train, val, False, self.sampled, self.format)

    def __reduce__(self) -> tuple[Any, ...]:
        if self.mapped:
            return _reopen, (self.name, self.fingerprint)
        values = (self.name, self.fingerprint, self.vocab, self.train, self.val, False, self.sampled, self.format)
        return Corpus, values


@lru_cache(maxsize=2)
def _reopen(name: str, fingerprint: str) -> Corpus:
    """A corpus in files as another process has it. Raises ValueError where its files are not the same here."""
    corpus = load_corpus(name)
    if corpus.fingerprint != fingerprint:
        raise ValueError(
            f"expected {name} with fingerprint {fingerprint}, as where the sweep was started; got "
            f"{corpus.fingerprint}: give every machine the same files"
        )
    return corpus


def load_corpus(spec: str) -> Corpus:
    """The corpus that `spec` names.

    `stdlib`: the bytes of Python's own standard-library source, in the order of its paths, without its tests;
    `text:PATH`: the bytes of a file; `tokens:PATH`: token files of any format in `data.formats`: a file, a folder, or a
    pattern such as `tokens:data/train_*.bin`; `tokens:PATH:uint32` says the type of a flat file's tokens. Of several
    files, those with `val` in their name are the validation split, where there are such.
    `hf:NAME` or `hf:NAME:SUBSET`: the bytes of the text of a Hugging Face dataset, a newline after each document, all
    in memory. NAME is one of the hub, or a path to files (parquet, jsonl, ...) or to what `save_to_disk` wrote. Its
    training split is taken, and its column `text`, or the only column of strings.

    Raises:
        ValueError: on an unknown spec; on a file that is missing, empty, unreadable or holds no tokens of that type; on
            a dataset that cannot be loaded or has no text, and without the extra `hf`.
    """
    kind, _, path = spec.partition(":")
    if spec == "stdlib":
        return _corpus(spec, np.frombuffer(_standard_library(), np.uint8))
    if kind == "text" and path:
        return _corpus(spec, np.memmap(_nonempty(path), np.uint8, mode="r"), mapped=True)
    if kind == "tokens" and path:
        return _tokens(spec, path)
    if kind == "hf" and path:
        return _corpus(spec, np.frombuffer(_hugging_face(path), np.uint8))
    raise ValueError(f"found data {spec!r}; wanted a known source: {nearest(spec, SOURCES)}")


def _tokens(spec: str, path: str) -> Corpus:
    before, _, last = path.rpartition(":")
    dtype = last if before and last in DTYPES else None
    files = _files(before if dtype else path)
    found = [read_tokens(_nonempty(str(file)), dtype) for file in files]
    formats = {each.format: file for each, file in zip(found, files, strict=True)}
    if len(formats) > 1:
        raise ValueError(f"expected files of one format in {path}; got {' and '.join(formats)}: name the files")
    held_out = [file for file in files if "val" in file.name.lower()]
    if len(files) == 1:
        held_out = []
    parts = {file: each.tokens for file, each in zip(files, found, strict=True)}
    train = [tokens for file, tokens in parts.items() if file not in held_out]
    val = [tokens for file, tokens in parts.items() if file in held_out]
    mapped = all(isinstance(each, np.memmap) for each in parts.values())
    tokens = train[0] if len(files) == 1 else Shards(train)
    return _corpus(spec, tokens, Shards(val) if val else None, mapped=mapped, format=next(iter(formats)))


def _files(path: str) -> list[Path]:
    """The files that a path, a folder or a pattern names, in the order of their names."""
    at = _expanded(path)
    if at.is_dir():
        found = [each for each in sorted(at.iterdir()) if each.suffix in (".bin", ".npy", ".parquet")]
        if not found:
            raise ValueError(f"expected files ending in .bin, .npy or .parquet in {path}; got none: name the files")
        return found
    if glob.has_magic(path) and not at.exists():
        found = sorted(Path(at.anchor or ".").glob(str(at.relative_to(at.anchor))))
        if not found:
            raise ValueError(f"expected files that match {path}; got none: check the pattern")
        return found
    if not at.exists() and at.with_name(at.name + ".bin").is_file():  # Megatron-LM names both its files by their prefix
        at = at.with_name(at.name + ".bin")
    return [at.with_suffix(".bin") if at.suffix == ".idx" else at]


def _corpus(name: str, tokens: Tokens, val: Tokens | None = None, *, mapped: bool = False, format: str = "") -> Corpus:
    train = tokens
    if val is None:
        cut = len(tokens) - int(len(tokens) * VALIDATION_FRACTION)
        train, val = slice_of(tokens, 0, cut), slice_of(tokens, cut, len(tokens))
        parts = parts_of(tokens)
    else:
        parts = (*parts_of(tokens), *parts_of(val))
    sampled = sum(part.nbytes for part in parts) > WHOLE
    looked = [block for part in parts for block in _blocks(part, sampled)]
    digest = hashlib.sha256(parts[0].dtype.name.encode())
    if sampled or len(parts) > 1:
        digest.update(repr([part.size for part in parts]).encode())
    for block in looked:
        digest.update(np.ascontiguousarray(block).data)
    vocab = 256 if parts[0].dtype == np.uint8 else 1 + max(int(block.max()) for block in looked if len(block))
    least = min(int(block.min()) for block in looked if len(block)) if parts[0].dtype.kind == "i" else 0
    if least < 0:
        raise ValueError(f"expected tokens of 0 and above in {name}; got {least}: check the file")
    return Corpus(name, digest.hexdigest()[:16], vocab, train, val, mapped, sampled, format)


def _blocks(part: Array, sampled: bool) -> Sequence[Array]:
    """All of an array, or samples of it, evenly spread from its start to its end."""
    length = SAMPLE // part.itemsize
    if not sampled or len(part) <= SAMPLES * length:
        return [part]
    return [part[start : start + length] for start in np.linspace(0, len(part) - length, SAMPLES).astype(np.int64)]


def _hugging_face(spec: str) -> bytes:
    try:
        import datasets
    except ImportError:
        raise ValueError(
            f"found data hf:{spec} without the package datasets; wanted it: pip install 'mutransfer[hf]'"
        ) from None
    name, _, subset = spec.partition(":")
    path = Path(name).expanduser() if name.startswith("~") else Path(name)
    local = path.exists()
    if not local and (name.startswith((".", "~")) or path.is_absolute()):
        raise ValueError(f"found no {path}; wanted a dataset there: check the path after hf:")
    try:
        # Since datasets 4 no code that comes with a dataset is run.
        if (path / "state.json").is_file() or (path / "dataset_dict.json").is_file():
            loaded = datasets.load_from_disk(str(path))
        elif path.is_file():
            loaded = datasets.load_dataset(str(path.parent.absolute()), data_files=path.name)
        else:
            loaded = datasets.load_dataset(str(path) if local else name, subset or None)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        told = str(error).strip().partition("\n")[0]
        raise ValueError(
            f"found that the dataset {spec!r} cannot be loaded ({type(error).__name__}: {told}); wanted one of the "
            "hub, as hf:NAME or hf:NAME:SUBSET, or a path to its files"
        ) from error
    if isinstance(loaded, datasets.DatasetDict):
        if "train" not in loaded and len(loaded) > 1:
            raise ValueError(f"found the splits {', '.join(loaded)} in {spec!r}; wanted train among them, or one alone")
        loaded = loaded["train"] if "train" in loaded else next(iter(loaded.values()))
    columns = [key for key, feature in loaded.features.items() if getattr(feature, "dtype", None) in STRINGS]
    chosen = "text" if "text" in columns else columns[0] if len(columns) == 1 else None
    if chosen is None:
        raise ValueError(
            f"found the columns of strings {', '.join(columns) or 'none'} in {spec!r}; wanted one named text, or one "
            "alone: write it to a file and give text:PATH"
        )
    documents = (document for batch in loaded.select_columns([chosen]).iter(1000) for document in batch[chosen])
    text = b"".join(document.encode() + b"\n" for document in documents if document)
    if not text:
        raise ValueError(f"found no text in the column {chosen} of {spec!r}; wanted some: give another dataset")
    return text


def _expanded(path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise ValueError(f"found {path}, of a user without a home; wanted a path: write it out") from None


def _nonempty(path: str) -> Path:
    file = _expanded(path)
    if not file.is_file():
        raise ValueError(f"found no file {path}; wanted a corpus there: check the path after text: or tokens:")
    try:
        with file.open("rb") as opened:
            first = opened.read(1)
    except OSError as error:
        raise ValueError(f"found {path}, which cannot be read ({error.strerror}); wanted a readable corpus") from None
    if not first:
        raise ValueError(f"found an empty file {path}; wanted a corpus: give a file with text in it")
    return file


def _standard_library() -> bytes:
    root = Path(sysconfig.get_path("stdlib"))
    parts = []
    for file in sorted(root.rglob("*.py"), key=lambda file: file.relative_to(root).as_posix()):
        folders = file.relative_to(root).parts[:-1]
        # Installed packages and the interpreter's own tests are no part of it; the build's settings differ by machine.
        skipped = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"} & set(folders)
        if not (skipped or file.name.startswith("_sysconfigdata") or file.name in ("sitecustomize.py", "site.py")):
            parts.append(file.read_bytes())
    if not parts:
        raise ValueError(
            f"found no source of Python's standard library in {root}; wanted it there for the corpus 'stdlib': "
            "give --data text:PATH"
        )
    return b"".join(parts)
