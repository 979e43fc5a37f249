"""What features do for the next token: attribution, ablation, and how well the first predicts the second; and whether
features are more than neurons.
"""

from semascope.attribution.ablation import Ablated, ablate, ablate_sample
from semascope.attribution.comparison import Agreement, agreement
from semascope.attribution.contributions import Contributions
from semascope.attribution.explanation import By, Explanation, explain, explaining
from semascope.attribution.first_order import Attribution, Parts, Prediction, attribute
from semascope.attribution.matches import NeuronMatches
from semascope.attribution.neurons import match_neurons
from semascope.attribution.question import Question

__all__ = [
    "Ablated",
    "Agreement",
    "Attribution",
    "By",
    "Contributions",
    "Explanation",
    "NeuronMatches",
    "Parts",
    "Prediction",
    "Question",
    "ablate",
    "ablate_sample",
    "agreement",
    "attribute",
    "explain",
    "explaining",
    "match_neurons",
]
