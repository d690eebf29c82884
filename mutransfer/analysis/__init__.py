"""From records to results: the optimum of every width with its interval, the slope, the regret and the verdict. Pure:
numpy and pandas, no torch.

    curve       losses of one arm at one width           line        the line through the optima
    quartic     a loss curve as a ridge quartic          regret      what the proxy's rate costs at the target
    noise       how noisy runs and seeds are             verdict     transfers or not, and why
    optimum     the best rate, with its interval         transfer    analyze(frame): all of it
    interval    estimates with parts of variance         summary     the same as JSON data
    students_t  the quantile of t                        recommend   the rate to use at another width
"""

from mutransfer.analysis.curve import Curve, curves
from mutransfer.analysis.interval import Interval
from mutransfer.analysis.optimum import Optimum, optima
from mutransfer.analysis.recommend import Recommendation, horizon_note, recommend
from mutransfer.analysis.regret import Regret
from mutransfer.analysis.summary import to_summary
from mutransfer.analysis.transfer import Analysis, ArmResult, Horizon, analyze

__all__ = [
    "Analysis",
    "ArmResult",
    "Curve",
    "Horizon",
    "Interval",
    "Optimum",
    "Recommendation",
    "Regret",
    "analyze",
    "curves",
    "horizon_note",
    "optima",
    "recommend",
    "to_summary",
]
