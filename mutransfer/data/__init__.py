"""Corpora as token arrays, and batches of them."""

from mutransfer.data.batches import sample_batch, validation_batches
from mutransfer.data.corpus import Corpus, load_corpus
from mutransfer.data.shards import Shards, Tokens

__all__ = ["Corpus", "Shards", "Tokens", "load_corpus", "sample_batch", "validation_batches"]
