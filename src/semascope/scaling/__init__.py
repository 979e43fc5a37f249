"""Which dictionary to train: plan a grid of them at several budgets, train it, fit the laws, predict from them."""

from semascope.scaling.law import Fit, JointLaw, Law, LawAtL0, Optimum, Point, Prediction, Value
from semascope.scaling.plan import Plan, ScalingConfig, flop, training_flops
from semascope.scaling.study import Study

__all__ = [
    "Fit",
    "JointLaw",
    "Law",
    "LawAtL0",
    "Optimum",
    "Plan",
    "Point",
    "Prediction",
    "ScalingConfig",
    "Study",
    "Value",
    "flop",
    "training_flops",
]
