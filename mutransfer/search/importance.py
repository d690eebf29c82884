"""Which hyperparameters of a search tell its good settings from the others: PED-ANOVA (Watanabe et al. 2304.10255), by
Optuna, which needs no further package for it."""

from __future__ import annotations

import optuna
import pandas as pd
from optuna import create_study, create_trial
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

from mutransfer.config import SweepConfig
from mutransfer.search.rounds import DIVERGED_LOSS
from mutransfer.search.sampling import distributions

GOOD = 0.25
"""The part of the settings that counts as good."""
FEWEST = 16
"""Settings below which nothing is said: too few of them are good."""


def importances(config: SweepConfig, settings: pd.DataFrame) -> dict[str, dict[str, float]]:
    """By arm, each hyperparameter's part in telling the best quarter of its settings from all; they sum to 1. Only an
    order of the losses enters, so divergence may stand for any high loss. Arms with too few settings are left out.

    Args:
        config: the search.
        settings: as `analysis.settings.rank` has them.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = distributions(config)
    found = {}
    for arm, rows in settings.groupby("arm", sort=False):
        study = create_study()
        for row in rows.to_dict("records"):
            params = {name: row[name] for name in space}
            if all(each._contains(each.to_internal_repr(params[name])) for name, each in space.items()):
                value = DIVERGED_LOSS if row["diverged"] else row["loss"]
                study.add_trial(create_trial(params=params, distributions=dict(space), value=value))
        if len(study.trials) >= FEWEST:
            evaluator = PedAnovaImportanceEvaluator(target_quantile=GOOD)
            found[str(arm)] = get_param_importances(study, evaluator=evaluator)
    return found
