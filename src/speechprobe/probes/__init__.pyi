from .jobs import Job as Job
from .jobs import fit_predict_many as fit_predict_many
from .linear import LogisticProbe as LogisticProbe
from .linear import RidgeProbe as RidgeProbe
from .mlp import TorchMLPClassifier as TorchMLPClassifier
from .mlp import TorchMLPRegressor as TorchMLPRegressor
