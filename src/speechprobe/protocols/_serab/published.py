"""The figures that SERAB published, chosen among the five classifiers on the test part.

Scheidwasser-Clow, Kegler, Beckmann, Cernak: "SERAB: a multi-lingual benchmark for speech emotion
recognition", ICASSP 2022, https://arxiv.org/abs/2110.03414. Test accuracy in %.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from speechprobe.protocols._serab.tasks import NINE

_MEANS = {
    "YAMNet": (55.1, 55.8, 54.0),
    "VGGish": (56.9, 57.7, 55.4),
    "TRILL layer 19": (69.0, 68.3, 67.3),
    "openSMILE": (70.2, 69.3, 68.4),
    "BYOL-A 512": (72.7, 69.3, 69.6),
    "BYOL-S 512": (73.0, 71.7, 70.8),
    "BYOL-S/CvT 2048": (74.2, 73.6, 73.2),
    "BYOL-S 2048": (75.1, 73.6, 73.7),
}
_TASKS = {
    "openSMILE": {"emodb": 90.5, "ravdess": 71.3},
    "BYOL-A 512": {"ravdess": 74.7},
    "BYOL-S 512": {
        "aesdd": 74.9,
        "cafe": 76.4,
        "crema_d": 74.4,
        "emodb": 86.9,
        "emovo": 34.2,
        "iem4": 63.3,
        "ravdess": 77.3,
        "savee": 79.2,
        "shemo": 90.6,
    },
}
MEANS = ("UM", "WM", "GM")


def published() -> pd.DataFrame:
    """Return one row a model: accuracy of each of the nine tasks, NaN if not known here; means."""
    rows = [
        {task: _TASKS.get(model, {}).get(task, np.nan) for task in NINE}
        | dict(zip(MEANS, means, strict=True))
        for model, means in _MEANS.items()
    ]
    return pd.DataFrame(rows, index=pd.Index(_MEANS, name="model"))
