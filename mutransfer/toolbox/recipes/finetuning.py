"""Ranges of rates for what is not language modelling from scratch, with the reasons for them."""

from __future__ import annotations

from collections.abc import Mapping

from mutransfer.toolbox.recipes.recipe import Example, RateRange

LLAMA_2 = "Touvron et al. 2307.09288"
TRL = "TRL's documentation, PEFT integration"
DEEPSEEK = "DeepSeek-AI 2401.02954, section 4"
INSTRUCTGPT = "Ouyang et al. 2203.02155"
QLORA = "Dettmers et al. 2305.14314"
DIFFUSERS = "Hugging Face diffusers, examples/dreambooth"

_ALL = (
    RateRange(
        name="finetune-full",
        title="supervised fine-tuning of all weights of a language model",
        per="",
        schedule="cosine or linear to 0, a short warmup, 1 to 3 passes",
        why="the weights already lie in a good place: a tenth or less of the pretraining rate moves them without "
        "undoing what they know, and larger models bear less",
        examples=(
            Example(2e-5, "Llama 2-Chat: cosine, weight decay 0.1, 64 sequences, 2 passes", f"{LLAMA_2}, section 3.1"),
            Example(1e-5, "DeepSeek LLM 7B Chat", DEEPSEEK, "quoted"),
            Example(5e-6, "DeepSeek LLM 67B Chat", DEEPSEEK, "quoted"),
            Example(9.65e-6, "InstructGPT 1.3B: 16 passes", INSTRUCTGPT, "quoted"),
            Example(2e-5, "recommended for SFT", TRL),
        ),
    ),
    RateRange(
        name="finetune-lora",
        title="LoRA and QLoRA",
        per="",
        schedule="constant or linear to 0, a short warmup",
        why="the update is a product of two small matrices of which one starts at 0, so a step of the same rate "
        "changes the weight less: the best rate is about 10 times that of full fine-tuning, whatever the rank",
        examples=(
            Example(2e-4, "GPT-3 175B, where full fine-tuning took 5e-6", "Hu et al. 2106.09685", "quoted"),
            Example(2e-4, "QLoRA at 7B and 13B: constant, clip 0.3", QLORA, "quoted"),
            Example(1e-4, "QLoRA at 33B and 65B", QLORA, "quoted"),
            Example(5e-4, "code, Llama 2 7B (2e-4 for mathematics)", "Biderman et al. 2405.09673", "quoted"),
            Example(
                None, "9.8 times the best full rate, over 14 models", "Schulman 2025, LoRA Without Regret", "quoted"
            ),
            Example(2e-4, "recommended for SFT", TRL),
        ),
    ),
    RateRange(
        name="reward-model",
        title="a reward model on preference pairs",
        per="",
        schedule="cosine to 10%, warmup of 3% of the steps, one pass",
        why="there are few pairs, and a second pass over them is learned by heart: so a small rate, once",
        examples=(
            Example(
                1e-5, "Llama 2-Chat below 70B: warmup 3% (5 steps at least), 512 pairs", f"{LLAMA_2}, section 3.2.2"
            ),
            Example(5e-6, "Llama 2-Chat 70B", f"{LLAMA_2}, section 3.2.2"),
            Example(9e-6, "InstructGPT: cosine to 10%, one pass, 64 prompts", f"{INSTRUCTGPT}, appendix C.2"),
        ),
    ),
    RateRange(
        name="ppo",
        title="reinforcement learning from feedback (PPO, GRPO)",
        per="",
        schedule="constant, after a few steps of warmup",
        why="the data come from the policy itself and its gradient is noisy: what moves it far in one step leaves the "
        "region in which the reward model and the clipped ratio hold",
        examples=(
            Example(
                1e-6, "PPO, Llama 2-Chat: constant, weight decay 0.1, clip 1.0, batch 512", f"{LLAMA_2}, section 3.2.3"
            ),
            Example(3e-6, "GRPO, DeepSeek-R1-Zero: KL coefficient 0.001", "DeepSeek-AI 2501.12948", "quoted"),
            Example(1e-6, "recommended for GRPO (1e-5 with LoRA)", TRL),
        ),
    ),
    RateRange(
        name="dpo",
        title="direct preference optimization",
        per="",
        schedule="linear warmup, then constant, cosine or linear",
        why="the loss is a log-odds against the reference model, scaled by beta, which a small move already saturates",
        examples=(
            Example(
                1e-6,
                "RMSprop, 150 steps of warmup, batch 64, beta 0.1",
                "Rafailov et al. 2305.18290, appendix B",
                "quoted",
            ),
            Example(
                5e-7, "Zephyr 7B: AdamW, cosine, warmup 10%, one pass, beta 0.01", "huggingface/alignment-handbook"
            ),
            Example(5e-7, "recommended (5e-6 with LoRA)", TRL),
        ),
    ),
    RateRange(
        name="vision-resnet",
        title="ResNets on ImageNet, SGD with momentum 0.9",
        per="a batch of 256 images, and in proportion to it",
        schedule="a tenth every 30 of 90 epochs, or cosine; 5 epochs of warmup for large batches",
        why="batch normalization makes the loss blind to the scale of the weights, so the rate that works depends "
        "little on the network; the noise of SGD goes as rate over batch",
        examples=(
            Example(
                0.1, "weight decay 1e-4, a tenth every 30 epochs", "torchvision, references/classification/train.py"
            ),
            Example(0.1, "times batch/256, up to 8192", "Goyal et al. 1706.02677, section 2.1"),
        ),
    ),
    RateRange(
        name="vision-scratch",
        title="vision transformers and ConvNeXt from scratch, AdamW",
        per="a batch of 256 images, and in proportion to it",
        schedule="tens of epochs of linear warmup, cosine to 0 over hundreds",
        why="Adam's steps do not shrink with the gradient, so the rate is a fraction of SGD's, and without batch "
        "normalization the first steps are fragile, hence the long warmup",
        examples=(
            Example(4e-3 / 16, "ConvNeXt: 4e-3 at 4096", "facebookresearch/ConvNeXt, TRAINING.md"),
            Example(1.5e-4, "MAE: 40 epochs of warmup, weight decay 0.05", "facebookresearch/mae, PRETRAIN.md"),
        ),
    ),
    RateRange(
        name="vision-finetune",
        title="fine-tuning of pretrained vision models, AdamW with a rate that falls layer by layer",
        per="a batch of 256 images, for the last layer; each layer below takes 0.65 to 0.8 of the one above",
        schedule="cosine to 0 over 30 to 100 epochs",
        why="early layers are general and should hardly move, the head starts from nothing: the decay over layers lets "
        "the top rate be high",
        examples=(
            Example(5e-4, "MAE, ViT-B: layer decay 0.65", "facebookresearch/mae, FINETUNE.md"),
            Example(1e-3, "MAE, ViT-L and H: layer decay 0.75", "facebookresearch/mae, FINETUNE.md"),
            Example(
                5e-5 / 2, "ConvNeXt: 5e-5 at 512, layer decay 0.7 to 0.8", "facebookresearch/ConvNeXt, TRAINING.md"
            ),
        ),
    ),
    RateRange(
        name="diffusion",
        title="diffusion models from scratch, Adam or AdamW",
        per="",
        schedule="constant after a warmup, with an average of the weights in place of a decay",
        why="the loss is averaged over noise levels and says little of progress, so nothing is gained by a schedule "
        "that follows it; the average of the weights does what a decay would",
        examples=(
            Example(2e-4, "DDPM at 32x32, batch 128", "Ho et al. 2006.11239, appendix B"),
            Example(2e-5, "DDPM at 256x256 (unstable with the larger one)", "Ho et al. 2006.11239, appendix B"),
            Example(1e-4, "DiT: constant, no weight decay, batch 256", "Peebles & Xie 2212.09748", "quoted"),
            Example(1e-4, "constant after 10,000 steps, batch 2048", "Stable Diffusion v1, model card"),
        ),
    ),
    RateRange(
        name="diffusion-finetune",
        title="fine-tuning of diffusion models (DreamBooth)",
        per="",
        schedule="constant, a few hundred steps",
        why="a handful of images is learned by heart within hundreds of steps, and what the model knew is lost with it",
        examples=(
            Example(5e-6, "400 steps", DIFFUSERS, "quoted"),
            Example(2e-6, "800 steps, with the text encoder", DIFFUSERS, "quoted"),
            Example(None, "with LoRA 1e-4, 500 steps", DIFFUSERS, "quoted"),
        ),
    ),
)

RANGES: Mapping[str, RateRange] = {each.name: each for each in _ALL}
"""By name."""
