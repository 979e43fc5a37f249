"""Which dictionary to train: plan a grid of them at several budgets, train it, fit the laws, predict from them."""

from semascope.scaling.budget import Budget
from semascope.scaling.law import Fit, JointLaw, Law, LawAtL0, Optimum, Point, Prediction, Value
from semascope.scaling.plan import Plan, ScalingConfig, flop, training_flops
from semascope.scaling.recommendation import Recommendation, recommend
from semascope.scaling.study import Study

__all__ = [
    "Budget",
    "Fit",
    "JointLaw",
    "Law",
    "LawAtL0",
    "Optimum",
    "Plan",
    "Point",
    "Prediction",
    "Recommendation",
    "ScalingConfig",
    "Study",
    "Value",
    "flop",
    "recommend",
    "training_flops",
]
