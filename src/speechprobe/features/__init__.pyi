from .extraction import extract as extract
from .planning import Plan as Plan
from .table import Failure as Failure
from .table import Features as Features
from .table import RaggedLayer as RaggedLayer
from .table import load_features as load_features
