"""`python -m warmline_train COMMAND`: the commands load what they need, so that `card` runs without PyTorch."""

import importlib
import sys

COMMANDS = {
    "train": ("train", "train a stage, measure it on held-out folds, write the model and its card"),
    "calls": ("calls", "make whole calls of unseen corpora for `warmline evaluate`"),
    "baseline": ("baseline", "measure openSMILE eGeMAPSv02 with a support vector machine on the same folds"),
    "card": ("model_card", "render MODEL_CARD.md from the cards and the figures"),
    "adapt": ("adapt", "fit a shipped model to labelled calls of your own"),
}


def usage() -> str:
    lines = [f"  {name:10}{about}" for name, (_, about) in COMMANDS.items()]
    return "\n".join(
        ["usage: python -m warmline_train COMMAND [OPTION ...]", "", *lines, "", "COMMAND --help lists the options."]
    )


def main() -> int:
    """The exit status: that of the command, 2 where there is no such command."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in ("-h", "--help"):
        print(usage())
        return 0
    if name not in COMMANDS:
        print(f"warmline_train: unknown command {name!r}\n\n{usage()}", file=sys.stderr)
        return 2
    module, _ = COMMANDS[name]
    sys.argv = [f"warmline_train {name}", *sys.argv[2:]]
    return importlib.import_module(f"warmline_train.{module}").main()


if __name__ == "__main__":
    sys.exit(main())
