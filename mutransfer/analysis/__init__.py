"""From records to results: the optimum of every size with its interval, the slope, the regret and the verdict. Pure:
numpy and pandas, no torch.

    curve       losses of one arm at one size            confirmation the regret as measured at the target
    quartic     a loss curve as a ridge quartic          sensitivity what a rate drawn from the range costs
    noise       how noisy runs and seeds are             stability   the lowest rate at which training fails
    optimum     the best rate, with its interval         band        the rates that do nearly as well as the best
    interval    estimates with parts of variance         size_law    the best rate against the number of parameters
    students_t  the quantile of t                        leverage    whether one size alone decides the slope
    pooled      the minima as of curves of one shape     assurance   how likely a study that goes on will decide
    line        the line through the optima              settle      what would settle an inconclusive verdict
    regret      what the proxy's rate costs at the target transfer   analyze(frame): all of it
    verdict     transfers or not, and why                summary     the same as JSON data
    law         the best rate over sizes, tokens, batch  two_regimes its surface, and what is not known of it
    importance  weighted points of a density
                                                         recommend   the rate to use at another width
"""

from mutransfer.analysis.band import Band
from mutransfer.analysis.curve import Curve, curves
from mutransfer.analysis.interval import Interval
from mutransfer.analysis.leverage import Leverage
from mutransfer.analysis.optimum import Optimum, optima
from mutransfer.analysis.recommend import Recommendation, recommend
from mutransfer.analysis.regret import Regret
from mutransfer.analysis.sensitivity import Sensitivity
from mutransfer.analysis.settle import Settling
from mutransfer.analysis.size_law import SizeLaw
from mutransfer.analysis.stability import Unstable
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
