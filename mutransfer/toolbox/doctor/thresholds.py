"""Every number by which the doctor judges, with what it was set by: the recorded trainings in tests/data/doctor, the
sweeps in results/, and logs that others published (tests/data/doctor/published)."""

# what is told from what
WINDOW = 20
"""Logged losses whose median is held against the first one: one bad batch is no divergence. Short logs take a third."""
SURE = 2.0
"""Standard errors that a change must exceed to be one."""
MARGIN = 5.0
"""Standard deviations that a loss must lie above another to be a finding: what never moved stays within one or two."""
NOISE_UNKNOWN = 0.5
"""Of the first loss: the margin where fewer than ten losses show what the noise is."""
FEWEST_NOISE = 10
FEWEST = 40
"""Logged losses below which a trend cannot be told from noise."""
FEWEST_SHORT = 8
"""Logged losses that show at least whether a loss rose, or never moved."""
EARLY = 50
"""Steps before which a loss that stands or rises says little: warmups do that."""
TAIL = 0.1
"""The last part of a run, by which its end is judged."""

# divergence
AT_ONCE = 20
"""Steps within which a rate that is much too high shows: an unstable direction grows by a factor each step."""
WARM = 0.5
"""A run that is still well at this part of its warmup was not lost from the start."""
LATE = 1.5
"""After this many times its length the warmup no longer explains what happens."""
STAYED = 0.05
"""Part of a run above its first loss that is a divergence though it came back."""
ROSE = 0.05
"""A rise of this part of all that was gained, and beyond the noise, is a loss, not a fluctuation."""
ROSE_SHORT = 0.2
"""The same in logs of fewer than 40 losses."""
ZERO_FROM = 0.05
"""A loss that is exactly 0 after one above this part of the first fell to it at once."""

# swings
BLOCKS = 8
FEWEST_IN_BLOCK = 15
"""Logged losses in each of the blocks whose swings are compared: of 15 the scatter is known to a third."""
GREW = 5.0
"""Times the scatter of an earlier block, by itself and over what had been gained: the scatter of a fixed batch size is
constant or falls with the loss, and where outputs start alike for all inputs it grows as they are learned."""
SWINGS = 1 / 3
"""Noise changes direction at two of three points, a period of two at all, a loss that only rises at none."""
SEEN = 0.01
"""A swing below this part of what was gained is too small to matter."""
OFF_COURSE = 0.1
"""Of what was gained: a loss so far above its lowest has left its course, and a run that is off it for this part of the
time is not stable."""
SPIKE = 7.0
"""Standard deviations (robust, of the last values) above their median."""
SPIKE_WINDOW = 50
NORM_GREW = 10.0
"""Times the norm of the gradient in its calmest eighth; sound runs stay within 2, a badly scaled one within 4."""
AT_EDGE = 0.9
"""Of the stability limit: gradient descent hovers from just below to a little above it (Cohen et al., figure 1)."""

# progress
STRAIGHT = 0.5
"""Gain of the second half over that of the first: 1 on a straight line, below 0.2 on the curves of sound rates."""
EVENLY = 1 / 4
"""Of the mean gain of an eighth: what each gains at least on a straight line. On a staircase (several epochs over few
data) some gain nothing."""
WITHIN = 0.5
"""Less than this part of the fall within epochs, and the rest between them: stairs."""
LITTLE = 1 / 3
"""Of the first loss: what has fallen further is not slow."""
SOON = 150
"""Steps before which a straight line says nothing: most losses begin with one."""
FLAT = ((0.2, 0.015), (0.5, 0.003))
"""Flat since which part of the run, and the standard error of the change since then, over all that was gained, that is
needed to say so: from a fifth of it on sound runs here gain 7% of all that they gain, in their second half 1.5%."""
BARELY = 0.1
"""Of the loss: a fall so small may be all that there is to see, and noise then is held against the loss itself."""
BARELY_SEEN = 0.04
FEWEST_BARELY = 60
LEARNED = 0.05
"""A loss below this part of the first one has nothing left to gain."""
UNLEARNED = 0.02
"""A gain below this part of the first loss is none."""
DECAYED = 0.1
"""Below this part of its peak a rate has decayed, and a flat loss is to be expected."""
VANISHED = 1e-3
"""Of the first gradients: their norm where a loss that does not fall is stuck."""
PARTED = 0.05
"""A rise of the held-out loss, over what it or the training loss had gained, that is more than a last wiggle."""
LOST = 0.5
"""Less than this part of what was gained in training holds on held-out data."""
FEWEST_VAL = 3
SUMMED = 3.0
"""Times the held-out loss, at every look: a training loss that was summed, not averaged. With augmentation and dropout
the ratio begins at 1 and grows."""
ALIKE = 1.5
"""Largest over smallest of these ratios."""

# steps
APART = 100.0
"""A layer's relative update over the median layer's: sound runs of ours stay within 20, the embedding (whose rare rows
hardly move) lowest."""
HEALTHY_UPDATE = 1e-3
"""Relative update of a step (CS231n)."""
LARGE_UPDATE, HUGE_UPDATE = 0.02, 0.1
"""Twice and ten times what CS231n calls too high (1e-2), which small models reach at their best: a note, a problem."""
SMALL_UPDATE = 1e-5
FEWEST_LAYERS = 3
CLIPPED = 0.9
"""Of the steps after warmup; sound runs at a threshold of 1 are clipped early and now and then."""
SAME = 0.999
"""A norm below this part of the one before clipping was clipped."""
EPSILON = 0.5
"""In half the numbers of half the layers epsilon halves the update, or worse. In sound runs here it is a tenth: rows of
the embedding that never occur."""
OVER = 0.05
"""A rate within this part of its peak from zero hardly trains."""
STAGE = 3.0
"""Times that a rate falls at once where a schedule goes down in steps."""
IDLE = 0.25
"""Of the run spent so. A cosine to zero spends 14% of it there, a line 5%, GPT-3's, which ends at a tenth, nothing."""
GAINED = 0.01
"""A gain in it below this part of all is none."""
FEWEST_IDLE = 8
DECAY_MATTERS = 0.3
"""In the log of a weight's norm: what a steady decay would have taken off in the second half, beyond what was."""

# the run
AT_PEAK = 0.99
"""A rate at this part of its peak is at its peak."""
WARMUP_UNKNOWN = 0.1
"""The part of a run that counts as its warmup where neither the rate nor the setup tells."""
LATE_START = 0.05
"""A log whose first step is beyond this part of its last one, and beyond one interval between its lines, is the later
part of a longer run."""
MAD_TO_SD = 1.4826
"""The standard deviation of a normal variable over its median absolute deviation."""
