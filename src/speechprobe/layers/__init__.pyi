from .compare import LayerSimilarity as LayerSimilarity
from .compare import compare_layers as compare_layers
from .curve import CurvePoint as CurvePoint
from .curve import LearningCurve as LearningCurve
from .curve import learning_curve as learning_curve
from .probe import probe_layers as probe_layers
from .scores import LayerScore as LayerScore
from .scores import LayerScores as LayerScores
