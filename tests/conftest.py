"""One thread for every test: at these sizes a second one only waits for the first."""

import torch

torch.set_num_threads(1)
