from .probe import probe_layers as probe_layers
from .scores import LayerScore as LayerScore
from .scores import LayerScores as LayerScores
