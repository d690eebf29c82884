"""From trials to results: the optimum of every scale with its interval, the slope, the regret and the verdict. Pure:
numpy and pandas, no torch.

    curve         losses of one arm at one scale           two_regimes   the law over tokens and batch
    quartic       a loss curve as a ridge quartic          importance    weighted points of a density
    noise         how noisy runs and seeds are             law           the best rate of a run to come
    optimum       the best rate of one curve               recommend     the same, with what it costs
    design        which runs tell most of it
    pooled        all curves of an arm fitted as one       leverage      whether one size alone decides the slope
    interval      estimates with parts of variance         forgiving     sensitivity, bands, the lowest unstable rate
    line          one estimate of every optimum, and       study, settle, assurance: what would settle a verdict
                  the least-squares law through them       confirmation  the regret as measured at the target
    regret        what the proxy's rate costs              transfer      analyze(trials): all of it
    verdict       transfers or not, and why                summary       the same as JSON data
"""

from mutransfer.analysis.curve import Curve, curves
from mutransfer.analysis.forgiving import Band, Sensitivity, Unstable
from mutransfer.analysis.interval import Interval
from mutransfer.analysis.leverage import Leverage
from mutransfer.analysis.line import SizeLaw
from mutransfer.analysis.optimum import Optimum, optima
from mutransfer.analysis.recommend import Recommendation, recommend
from mutransfer.analysis.regret import Regret
from mutransfer.analysis.settle import Settling
from mutransfer.analysis.summary import to_summary
from mutransfer.analysis.transfer import Analysis, ArmResult, analyze
from mutransfer.trials.table import Horizon, Trials, from_frame

__all__ = [
    "Analysis",
    "ArmResult",
    "Band",
    "Curve",
    "Horizon",
    "Interval",
    "Leverage",
    "Optimum",
    "Recommendation",
    "Regret",
    "Sensitivity",
    "Settling",
    "SizeLaw",
    "Trials",
    "Unstable",
    "analyze",
    "curves",
    "from_frame",
    "optima",
    "recommend",
    "to_summary",
]
