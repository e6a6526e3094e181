"""What a network is made of and how its training went."""

from skvision.inspection._accuracy import AccuracyDisplay
from skvision.inspection._class_table import class_table
from skvision.inspection._convergence import convergence_epoch
from skvision.inspection._gradient import GradientDisplay
from skvision.inspection._history import HistoryDisplay
from skvision.inspection._parameter_table import (
    ParameterTable,
    count_parameters,
    parameter_table,
)
from skvision.inspection._prediction import PredictionDisplay
from skvision.inspection._reconstruction import ReconstructionDisplay
from skvision.inspection._table import Table

__all__ = [
    "AccuracyDisplay",
    "GradientDisplay",
    "HistoryDisplay",
    "ParameterTable",
    "PredictionDisplay",
    "ReconstructionDisplay",
    "Table",
    "class_table",
    "convergence_epoch",
    "count_parameters",
    "parameter_table",
]
