"""The splits of SERAB, the benchmark of speech emotion recognition, in two editions."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import pandas as pd

from speechprobe.datasets.splits._split import Split, check, group_codes, label_values

# Of train and validation; the rest tests. CREMA-D's are known by its actors' numbers.
_CUTS = (0.6, 0.6 + 0.2)
_CUTS_OF_CREMAD = (0.7, 0.7 + 0.1)
_CREMAD_SPEAKER = re.compile("10(?:0[1-9]|[1-8][0-9]|9[01])")
_LEFT_OUT = frozenset(
    {"1040_ITH_SAD_XX", "1006_TIE_NEU_XX", "1013_WSI_DIS_XX", "1017_IWW_FEA_XX"}  # CREMA-D
    | {"s05 (3)"}  # AESDD
)
# What the edition of 2021 took for the speaker, by the form of the utterance's id.
_TAKEN_IN_2021: dict[str, tuple[re.Pattern[str], Callable[[str], str]]] = {
    "ShEMO": (re.compile("[FM][0-9]{2}[AFHNSW][0-9]{2,3}"), lambda key: key[4:6]),
    "IEMOCAP": (re.compile("Ses0[1-5][FM]_.+"), lambda key: key[3:6]),
}


def serab(
    table: pd.DataFrame,
    edition: Literal["corrected", "2021"] = "corrected",
    *,
    groups: str = "speaker",
) -> Split:
    """Split a corpus as SERAB does: speakers in a fixed random order, cut at 60, 20 and 20 %.

    Scheidwasser-Clow, Kegler, Beckmann, Cernak: "SERAB: A multi-lingual benchmark for speech
    emotion recognition", ICASSP 2022. The sorted speakers are shuffled by
    `numpy.random.RandomState(0)` and cut at int(0.6 n) and int((0.6 + 0.2) n); CREMA-D's (actors
    1001 to 1091) at int(0.7 n) and int((0.7 + 0.1) n). Four files of CREMA-D and one of AESDD are
    in no part, as there: 1040_ITH_SAD_XX, 1006_TIE_NEU_XX, 1013_WSI_DIS_XX, 1017_IWW_FEA_XX and
    s05 (3).

    The edition "2021" repeats what the benchmark did with two corpora, which are known by the form
    of their ids: it took the number of the utterance for the speaker of ShEMO, and the session with
    the actor who wears the markers for the speaker of IEMOCAP. True speakers then stand on both
    sides, and a warning says how many. For all other corpora the editions are the same. (CaFE's
    published 864 utterances are those of one emotion and more: the neutral ones, 72, were
    overlooked at first; select them away to repeat that.)

    Parameters
    ----------
    table
        The items, indexed by utterance id as the loaders give it.
    edition
        "corrected" uses true speakers, "2021" what was published.
    groups
        Label of the speakers.

    Returns
    -------
    split
        Rows of train, validation and test, in the order of the table.

    Raises
    ------
    ValueError
        If the edition is unknown, or there are too few speakers for three parts.
    KeyError
        If there is no such label.

    Warns
    -----
    UserWarning
        If speakers stand on both sides, as in the edition "2021" of ShEMO and IEMOCAP.

    Examples
    --------
    >>> table = pd.DataFrame({"speaker": ["03", "08", "09", "10", "11", "12", "13", "14"]})
    >>> table["speaker"].iloc[serab(table).test].tolist()
    ['11', '12']
    """
    if edition not in ("corrected", "2021"):
        raise ValueError(f"edition must be 'corrected' or '2021', got {edition!r}")
    group_codes(table, groups)  # raises where an item has none
    true = label_values(table, groups).astype(str)
    taken = voices_of_2021(table.index.astype(str).tolist()) if edition == "2021" else None
    speakers = true if taken is None else np.array(taken)
    order = sorted(set(speakers.tolist()))
    np.random.RandomState(0).shuffle(order)
    is_cremad = all(map(_CREMAD_SPEAKER.fullmatch, order))
    first, second = (int(cut * len(order)) for cut in (_CUTS_OF_CREMAD if is_cremad else _CUTS))
    used = ~table.index.isin(_LEFT_OUT)
    parts = (order[:first], order[first:second], order[second:])
    split = Split(*(np.flatnonzero(np.isin(speakers, part) & used) for part in parts))
    if not all(map(len, split)):
        raise ValueError(f"{len(order)} speakers are too few for SERAB's three parts")
    if taken is not None:
        _warn_of_leak(split, true)
        return split
    return check(split, table, groups=groups)


def voices_of_2021(ids: Sequence[str]) -> list[str] | None:
    """Return what the edition of 2021 took for the speakers, None where that was right."""
    for form, speaker_of in _TAKEN_IN_2021.values():
        if all(map(form.fullmatch, ids)):
            return [speaker_of(key) for key in ids]
    return None


def _warn_of_leak(split: Split, speakers: np.ndarray[tuple[int], np.dtype[np.object_]]) -> None:
    train, test = set(speakers[split.train]), set(speakers[split.test])
    both = train & test
    if both:
        warnings.warn(
            f"SERAB's edition 2021 has {len(both)} of {len(test)} test speakers also in training; "
            "edition='corrected' keeps them apart",
            stacklevel=3,
        )
