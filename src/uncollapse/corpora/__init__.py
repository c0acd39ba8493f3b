"""Texts with ids from files, folders, BEIR folders, datasets on disk and installed documentation, streamed."""

from uncollapse.corpora.balance import Balanced as Balanced
from uncollapse.corpora.portioning import Fingerprint as Fingerprint
from uncollapse.corpora.portioning import portions as portions
from uncollapse.corpora.sources import open_corpus as open_corpus
from uncollapse.corpora.texts import Corpus as Corpus
from uncollapse.corpora.texts import Skipped as Skipped
from uncollapse.corpora.texts import Text as Text
