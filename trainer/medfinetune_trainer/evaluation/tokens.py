"""Text as metrics see it, in any script: folded, then cut into words; into characters where a script has no spaces between words, or glues particles to them.

SQuAD's normalisation (Rajpurkar et al. 2016, arXiv 1606.05250, section 6.1: lower case, no punctuation) with Unicode's letters in place of English's. Korean is
compared by syllable, as KorQuAD does (Lim et al. 2019, arXiv 1909.07005, section 4): its particles would make one word many.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from functools import lru_cache

KOREAN = "\u1100-\u11ff\u3130-\u318f\ua960-\ua97f\uac00-\ud7ff"
WITHOUT_SPACES = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
"""Thai and Lao, Burmese, Khmer, kana, Chinese characters: ranges for a character class, as KOREAN is."""

_NUMBER = r"\d+(?:[.,]\d+)*"
"""0.5 and 1,000 are one token each, and a unit that is written to them is another."""


def folded(text: str) -> str:
    """`text` without differences of case, width and composition (Unicode NFKC and case folding), with single spaces."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def tokens(text: str) -> list[str]:
    """Words and numbers of the folded `text` without punctuation; each Korean syllable and each character of a script without spaces by itself."""
    return _pattern().findall(folded(text))


class UnicodeTokenizer:
    """`tokens` in the form that rouge-score takes; its own tokenizer knows the letters a to z alone, and gives equal Korean sentences 0."""

    def tokenize(self, text: str) -> list[str]:
        """As `tokens`."""
        return tokens(text)


@lru_cache(maxsize=1)
def _pattern() -> re.Pattern[str]:
    marks = "".join(re.escape(chr(point)) for point in range(0x300, sys.maxunicode + 1) if unicodedata.category(chr(point))[0] == "M")
    alone = KOREAN + WITHOUT_SPACES
    return re.compile(rf"{_NUMBER}|(?=[\w{marks}])[{alone}]|(?:(?![{alone}])(?:[^\W_]|[{marks}]))+")
