"""The errors that are the user's to mend; the command line prints them as one line and exits with 2."""


class UserError(ValueError):
    """Bad input: the message names the argument or file, what was expected, what came, and the remedy."""


class TrainingDivergedError(RuntimeError):
    """A loss became NaN or infinite; the message names the step and the part."""


class CollapsedError(RuntimeError):
    """A training shows signs of collapse, without a NaN."""

    def __init__(self, step: int, reason: str) -> None:
        super().__init__(f"step {step}: {reason}")
        self.step, self.reason = step, reason
