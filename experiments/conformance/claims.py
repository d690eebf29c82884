"""The claims: what a source says, what is expected of it at the scale of two CPU cores and why, the bounds that decide
and how it is measured. Bounds are written down before a claim is measured, and not moved after. The default study (C1,
C3, C5, C6, C8) had been run before; where a pilot served to choose a setting, the expectation says so.
"""

from __future__ import annotations

from claim import Claim
from gates import Bound, contains_zero, within
from measures.coordinates import CoordinateCheck
from measures.equivalence import Equivalence
from measures.horizon import GrowingHorizon
from measures.published import LossTable, OptimaTable
from measures.sharpness import EdgeOfStability
from measures.sharpness import label as sharpness_of
from measures.spectra import SpectralNorms
from measures.spectra import label as norm_of
from measures.transfer import SlopeAndLoss, SlopeDifference, TransferRegret, TransferSlope, Wider
from sweeps import EPSILON, FIXED_STD, HORIZON_STEPS, HORIZONS, LOSSES, QK_NORM, RELATIVES, WIDTH_TRANSFER

GPU = "a GPU"

CLAIMS = (
    Claim(
        id="C1",
        statement="Under muP the best learning rate of Adam does not move with width: slope 0.",
        source="Tensor Programs V (arXiv 2203.03466), figure 1; nanoGPT-mup, figure for tiny-shakespeare: 0 exactly",
        expectation="The slope within ±0.25 octaves per doubling, and 0 inside its interval. The source asks for width "
        "256 and 5,000 steps or more; at widths 32 to 256 and 150 steps terms of order 1/sqrt(width) remain, hence a "
        "wider bound than the ±0.15 of a GPU.",
        gate=(within("mup slope", 0.25), *contains_zero("mup slope")),
        measure=TransferSlope(WIDTH_TRANSFER, "mup"),
        minutes=7.0,
    ),
    Claim(
        id="C2",
        statement="Under SP with a fixed initial standard deviation the best rate falls steeply: slope about -1.6.",
        source="nanoGPT-mup, tiny-shakespeare, widths 256 to 2048, read off its figure: -1.60 ± 0.14",
        expectation="A slope from -2.0 to -1.2 at widths 256 to 2048, context 1024, batch 8. An analogue is measured: "
        "the same recipe (tied embeddings, std 0.02, constant rate, clipping at 1, mean loss of all steps) at widths "
        "32 to 256, where 0.02 is far below fan-in initialization at every width.",
        gate=(Bound("sp_fixed_std slope", -2.0, -1.2),),
        measure=TransferSlope(FIXED_STD, "sp_fixed_std", loss="mean_loss"),
        needs=GPU,
        minutes=3.5,
    ),
    Claim(
        id="C3",
        statement="Under SP with fan-in initialization the best rate of Adam falls in proportion to 1/width: slope -1.",
        source="-0.96 (Tensor Programs V, figure 1), -0.95 (Everett et al. 2024, arXiv 2407.05872), -1.0 (Lingle 2024, "
        "arXiv 2404.05728), -1.0 (Megatron-LM pull request 3058)",
        expectation="A slope from -1.3 to -0.6. The sources measure widths of 512 and more, and Everett et al. leave "
        "128 to 512 out of their fit, so that a shallower slope at 32 to 256 would not contradict them.",
        gate=(Bound("sp slope", -1.3, -0.6),),
        measure=TransferSlope(WIDTH_TRANSFER, "sp"),
    ),
    Claim(
        id="C4",
        statement="With normalized queries and keys, trainable norms and a long warmup SP's slope is shallower: -0.4.",
        source="Haas et al. 2025 (arXiv 2505.22491), optima in its code, widths 256 to 4096: -0.415",
        expectation="A slope from -0.8 to -0.15. Widths 32 to 256 instead; warmup over 45 of 150 steps. Why this setup "
        "and that of C3 differ is not settled in the sources.",
        gate=(Bound("sp_qk_norm slope", -0.8, -0.15),),
        measure=TransferSlope(QK_NORM, "sp_qk_norm"),
        minutes=3.5,
    ),
    Claim(
        id="C5",
        statement="SP's slope is below muP's.",
        source="every source of C1 to C4",
        expectation="A difference below -0.3 whose interval excludes 0. Independent of what moves both arms at this "
        "scale, so this is the main claim of the CPU study.",
        gate=(Bound("sp slope - mup slope", high=-0.3), Bound("sp slope - mup slope", high=0.0, part="ci_high")),
        measure=SlopeDifference(WIDTH_TRANSFER, "sp", "mup"),
    ),
    Claim(
        id="C6",
        statement="Under muP wider is better: the loss at the optimum does not rise with width.",
        source="Tensor Programs V, figures 7 and 8; nanoGPT-mup, tiny-shakespeare: 2.605 to 2.59",
        expectation="No doubling raises the loss at the best rate by more than the standard error over seeds. The "
        "losses of these widths differ by hundredths of a nat, so two seeds suffice.",
        gate=(Bound("largest rise per doubling, less its seed SEM", high=0.0),),
        measure=Wider(WIDTH_TRANSFER, "mup"),
    ),
    Claim(
        id="C7",
        statement="Under SP with a fixed initial standard deviation the loss at the optimum rises with width.",
        source="nanoGPT-mup, tiny-shakespeare, widths 256 to 2048: 2.605 to 2.695",
        expectation="A rise above 0 from width 256 to 2048. The analogue (sweep of C2, widths 32 to 256) is not "
        "expected to show it: models this narrow gain more from width than they lose by initialization.",
        gate=(Bound("rise from the narrowest to the widest", low=1e-9),),
        measure=Wider(FIXED_STD, "sp_fixed_std", loss="mean_loss"),
        needs=GPU,
    ),
    Claim(
        id="C8",
        statement="The narrowest model's best rate costs next to nothing at the widest under muP, and much under SP.",
        source="Tensor Programs V, figure 1; nanoGPT-mup's figures",
        expectation="muP: at most 0.02 nats. SP: at least 0.1, five times muP's bound, at the lower end of its "
        "interval, or divergence (then the interval's lower end is what is lost at least). Three octaves of width "
        "at a slope of -1 put SP's rate three octaves too high.",
        gate=(Bound("mup regret", high=0.02), Bound("sp regret", low=0.1, part="ci_low")),
        measure=TransferRegret(WIDTH_TRANSFER, ("sp", "mup")),
    ),
    Claim(
        id="C9",
        statement="With one rate for all layers the slopes of four initializations differ: mean field -0.16, NTK "
        "-0.66, standard -0.95, muP -1.09.",
        source="Everett et al. 2024 (arXiv 2407.05872), figure I2, Adam, widths 768 to 16384, 50,000 steps",
        expectation="Ordered mean field > NTK > standard ≥ muP. Not run: the project's tables of ntk and mean_field "
        "give each layer its rate, and no arm gives them one for all; the fit leaves out every width a CPU reaches.",
        gate=(),
        needs=GPU,
    ),
    Claim(
        id="C10",
        statement="muP (simple), that is SP with the hidden rates divided by width, stabilizes the best rate, and its "
        "loss at the optimum is SP's.",
        source="Wortsman et al. 2023 (arXiv 2309.14322)",
        expectation="The slope within ±0.25. Losses at width 256, one octave above base width, within 0.02 nats of "
        "SP's, the bound that C8 puts on a regret.",
        gate=(within("mup_simple slope", 0.25), within("loss at width 256, mup_simple - sp", 0.02)),
        measure=SlopeAndLoss(RELATIVES, "mup_simple", WIDTH_TRANSFER, "sp"),
        minutes=6.5,
    ),
    Claim(
        id="C11",
        statement="SP with a rate for each layer at full alignment (embedding 1, hidden and readout 1/width) transfers "
        "on language.",
        source="Everett et al. 2024 (arXiv 2407.05872); Haas et al. 2025 (arXiv 2505.22491)",
        expectation="The slope within ±0.25. Its readout starts at random, which is all that it has beside muP; the "
        "logits it starts with have the same size at every width.",
        gate=(within("sp_full_align slope", 0.25),),
        measure=TransferSlope(RELATIVES, "sp_full_align"),
    ),
    Claim(
        id="C12",
        statement="Under SP and SGD an MLP's best rate falls as width^-1/2 with cross-entropy, as 1/width with squared "
        "error.",
        source="Haas et al. 2025 (arXiv 2505.22491), 8-layer MLP: -0.5 and -1.0",
        expectation="Slopes that differ by 0.3 or more. A 3-layer MLP over 4 bytes, widths 32 to 512, 150 steps. A "
        "pilot with one seed at widths 32 and 256 served to place the rates, in half octaves because both optima lie "
        "beside the first rate that diverges.",
        gate=(
            Bound("cross_entropy slope - squared_error slope", low=0.3),
            Bound("cross_entropy slope - squared_error slope", low=0.0, part="ci_low"),
        ),
        measure=SlopeDifference(LOSSES, "cross_entropy", "squared_error"),
        minutes=5.0,
    ),
    Claim(
        id="C13",
        statement="A GPT under SP, SGD and cross-entropy: slope -0.38 with clipping, -0.5 without; the highest stable "
        "rate -0.5.",
        source="Haas et al. 2025 (arXiv 2505.22491), optima in its code, widths 256 to 4096, 10,700 steps",
        expectation="Slopes near the sources'. Not run: SGD trains a transformer too slowly for any optimum below the "
        "edge of divergence in the few hundred steps that a CPU affords.",
        gate=(),
        needs=GPU,
    ),
    Claim(
        id="C14",
        statement="Coordinate check under Adam: the change of attention, MLP and logits is independent of width under "
        "muP, and grows under SP. Logits at initialization scale as width^-1/2 under muP, as width^0 under SP, as "
        "width^1/2 at fixed standard deviation.",
        source="Tensor Programs V, appendix D.1 and figure 5; nanoGPT-mup, coordinate check",
        expectation="muP: every slope within ±0.1. SP: every slope 0.5 or more (theory 1 for the first update). Logits "
        "at initialization within 0.1 of theory. At the rate of muP's optimum, constant from the first step. Pilots "
        "at widths 32 to 512: at four times that rate training is unstable and slopes scatter (muP up to 0.2 ± 0.3); "
        "with a random readout muP's logits move at slope -0.4 to -0.2, because their part of order width^-1/2 is "
        "still larger than the rest, and SP's at +0.3.",
        gate=(
            within("mup: largest slope in absolute value", 0.1),
            Bound("sp: least slope", low=0.5),
            Bound("mup: slope of the logits at initialization", -0.6, -0.4),
            within("sp: slope of the logits at initialization", 0.1),
            Bound("sp_fixed_std: slope of the logits at initialization", 0.4, 0.6),
        ),
        measure=CoordinateCheck(),
        minutes=1.0,
    ),
    Claim(
        id="C15",
        statement="Square hidden matrices: ‖W‖₂ and ‖ΔW‖₂ do not depend on width under muP; ‖ΔW‖₂ grows in proportion "
        "to width under SP.",
        source="Yang, Simon and Bernstein 2023 (arXiv 2310.17813), condition 1",
        expectation="Every slope within 0.15 of theory, for the matrices' first update, of which the theory speaks. "
        "After 4 updates, which are reported too, a first measurement had found 0.849 ± 0.05 for one of the 8 matrices "
        "under SP, just short of 0.85: on one batch successive updates of the wide, too fast models cancel in part.",
        gate=(
            within(norm_of("mup", 0), 0.15),
            within(norm_of("mup", 2), 0.15),
            within(norm_of("sp", 0), 0.15),
            Bound(norm_of("sp", 2), 0.85, 1.15),
        ),
        measure=SpectralNorms(),
        minutes=1.5,
    ),
    Claim(
        id="C16",
        statement="Ablations break muP's transfer: trainable gain vectors, coupled weight decay 0.1, Lion, 1/sqrt(d) "
        "attention.",
        source="Lingle 2024 (arXiv 2404.05728), 24 layers, widths 128 to 2048, 125,000 steps, rates 4 apart",
        expectation="The best rate moves by at least one step of 4. Not run: weight decay and gains act over the "
        "1/(lr wd) steps of a long run.",
        gate=(),
        needs=GPU,
    ),
    Claim(
        id="C17",
        statement="The table of losses in microsoft/mup issue 66, a muP implementation that is said to transfer, shows "
        "that it does not.",
        source="microsoft/mup issue 66; three-point parabolas through its table: -0.88 ± 0.05",
        expectation="A slope from -0.93 to -0.83 by the project's own estimator, and the verdict that it does not "
        "transfer. No training: the table is the input.",
        gate=(Bound("slope", -0.93, -0.83), Bound("says that it does not transfer (1: yes)", 1.0, 1.0)),
        measure=LossTable("mup_issue_66"),
    ),
    Claim(
        id="C18",
        statement="Megatron-LM's table of best rates: SP's slope is -1.000; muP's, +0.20, rests on width 2048 alone.",
        source="NVIDIA/Megatron-LM pull request 3058, table of 2026-01-29",
        expectation="Slopes within 0.001 of these (the rates are printed to three digits); muP's is said to rest on "
        "width 2048 and is 0 without it; SP's rests on none. Rates stand on a grid of factor 2.",
        gate=(
            Bound("SP slope", -1.001, -0.999),
            Bound("width that the SP slope rests on (0: none)", 0.0, 0.0),
            Bound("muP slope", 0.199, 0.201),
            Bound("width that the muP slope rests on (0: none)", 2048.0, 2048.0),
            within("muP slope without it", 0.001),
        ),
        measure=OptimaTable("megatron_pr_3058", (("sp", "SP"), ("mup", "muP")), step=1.0),
    ),
    Claim(
        id="C19",
        statement="Haas et al.'s best rates: slopes -0.464 (MLP, SGD), -0.415 (GPT, Adam), -0.381 (GPT, SGD, clipped), "
        "-0.500 (GPT, SGD).",
        source="Haas et al. 2025 (arXiv 2505.22491), optima in its code; least squares of logarithms",
        expectation="Each within 0.001.",
        gate=(
            Bound("MLP, SGD slope", -0.465, -0.463),
            Bound("GPT, Adam slope", -0.416, -0.414),
            Bound("GPT, SGD, clipped slope", -0.382, -0.380),
            Bound("GPT, SGD slope", -0.501, -0.499),
        ),
        measure=OptimaTable(
            "haas_2025",
            (
                ("mlp8_sp_sgd_ce_mnist", "MLP, SGD"),
                ("gpt_sp_adam_qknorm", "GPT, Adam"),
                ("gpt_sp_sgd_clip", "GPT, SGD, clipped"),
                ("gpt_sp_sgd_noclip", "GPT, SGD"),
            ),
        ),
    ),
    Claim(
        id="C20",
        statement="Tables 3, 8 and 9 of Tensor Programs V are one parametrization, and at base width muP is SP.",
        source="Tensor Programs V, Lemma J.1 and Eq. 4",
        expectation="Loss curves in float64: equal in every bit at width 4 times the base (all multipliers are powers "
        "of two) and at base width; within 1e-12 of each other at 3 times the base.",
        gate=(
            Bound("Tables 3, 8, 9 at m = 4: largest relative difference of losses", 0.0, 0.0),
            Bound("Tables 3, 8, 9 at m = 3: largest relative difference of losses", 0.0, 1e-12),
            Bound("SP and muP at base width: largest relative difference of losses", 0.0, 0.0),
        ),
        measure=Equivalence(),
        minutes=0.3,
    ),
    Claim(
        id="C21",
        statement="If Adam's epsilon does not scale with width as the gradients do, the best rate drifts up under muP.",
        source="Everett et al. 2024 (arXiv 2407.05872), section on epsilon; Tensor Programs V, appendix B.3",
        expectation="The slope with constant epsilon above that with scaled epsilon; its sign, so the interval must "
        "exclude 0 (before it was measured, the estimate alone was to decide). At the usual 1e-8 nothing shows at "
        "these widths, so epsilon is 1e-3 at base width 32. A pilot with one seed showed a shift.",
        gate=(Bound("eps_constant slope - eps_scaled slope", low=0.0, part="ci_low"),),
        measure=SlopeDifference(EPSILON, "eps_constant", "eps_scaled"),
        minutes=2.5,
    ),
    Claim(
        id="C22",
        statement="If tokens grow as width^2, SP's slope is more negative than at a fixed number of tokens, by 0.2.",
        source="Everett et al. 2024 (arXiv 2407.05872), figure I2: -0.95 and -1.18",
        expectation="A difference below 0, whose interval excludes 0 (before it was measured, the estimate alone was "
        "to decide). 40, 160 and 640 steps at widths 32, 64 and 128, against 160 at each: the best rate falls with the "
        "number of steps.",
        gate=(Bound("difference of the slopes, growing - fixed", high=0.0, part="ci_high"),),
        measure=GrowingHorizon(HORIZONS, "sp", HORIZON_STEPS),
        minutes=5.0,
    ),
    Claim(
        id="C23",
        statement="The gradient noise scale of MNIST, from two batch sizes, is about 900.",
        source="McCandlish et al. 2018 (arXiv 1812.06162): 900; a public implementation: 870 to 876",
        expectation="Within 25% of 900. Not run: the number is MNIST's, and the project downloads no data.",
        gate=(),
        needs="MNIST",
    ),
    Claim(
        id="C24",
        statement="Full-batch training settles at the edge of stability: sharpness 2/lr under gradient descent, "
        "preconditioned sharpness 38/lr under Adam with beta1 = 0.9.",
        source="Cohen et al. 2021 (arXiv 2103.00065); Cohen et al. 2022 (arXiv 2207.14484)",
        expectation="Within 15% of these at two rates each. A small MLP suffices: nothing in the claim is about size. "
        "Rates were placed by a pilot with one seed, so that 3,000 steps reach the edge.",
        gate=tuple(
            Bound(sharpness_of(name, lr), 0.85, 1.15)
            for name, lrs in (("sgd", EdgeOfStability.gd_lrs), ("adam", EdgeOfStability.adam_lrs))
            for lr in lrs
        ),
        measure=EdgeOfStability(),
        minutes=0.7,
    ),
)
