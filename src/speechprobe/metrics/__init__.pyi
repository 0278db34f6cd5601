from .classification import accuracy as accuracy
from .classification import uar as uar
from .regression import mae as mae
from .regression import mse as mse
from .regression import r2 as r2
from .uncertainty import bootstrap_interval as bootstrap_interval
from .uncertainty import group_resamples as group_resamples
