"""Text: corpora as streams of documents, tokenizers, and windows of tokens."""

from semascope.text.corpus import Corpus, CorpusConfig, is_held_out, shuffled
from semascope.text.display import Piece, pieces, token_text
from semascope.text.documents import read_documents
from semascope.text.labelled import POSITIVE, positive_label, read_labelled, read_two_sides
from semascope.text.published import Format, PublishedFile
from semascope.text.rows import parse_json, read_text_file
from semascope.text.sample import encyclopedia_names, read_sample, wikipedia_in_other_languages
from semascope.text.tokenizer import ByteTokenizer, HuggingFaceTokenizer, Tokenizer
from semascope.text.windows import one_window_each, pack

__all__ = [
    "POSITIVE",
    "ByteTokenizer",
    "Corpus",
    "CorpusConfig",
    "Format",
    "HuggingFaceTokenizer",
    "Piece",
    "PublishedFile",
    "Tokenizer",
    "encyclopedia_names",
    "is_held_out",
    "one_window_each",
    "pack",
    "parse_json",
    "pieces",
    "positive_label",
    "read_documents",
    "read_labelled",
    "read_sample",
    "read_text_file",
    "read_two_sides",
    "shuffled",
    "token_text",
    "wikipedia_in_other_languages",
]
