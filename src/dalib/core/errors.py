"""The errors that are the user's to mend; the command line prints them as one line and exits with 2."""


class UserError(ValueError):
    """Bad input: the message names the argument or file, what was expected, what came, and the remedy."""


class ImageChangedError(UserError):
    """An image file that is read again and again is gone, or holds another picture than before."""


class ToldElsewhereError(UserError):
    """An error of the first of several processes, which prints it."""


class OutputClosedError(RuntimeError):
    """Nobody reads what a command prints, and printing is all that it does."""


class TrainingDivergedError(RuntimeError):
    """A loss became NaN or infinite; the message names the step and the part."""


class CollapsedError(RuntimeError):
    """A training shows signs of collapse, without a NaN."""

    def __init__(self, step: int, reason: str) -> None:
        super().__init__(f"step {step}: {reason}")
        self.step, self.reason = step, reason


class StoppedError(RuntimeError):
    """A training was asked to stop, and left after a whole step."""

    def __init__(self, step: int) -> None:
        super().__init__(f"stopped after step {step}")
        self.step = step


class RanksLostError(RuntimeError):
    """One of several processes that train together ended."""


class RunStoppedError(RuntimeError):
    """A run was stopped by a signal; the message says how to go on."""

    def __init__(self, message: str, signal: int) -> None:
        super().__init__(message)
        self.code = 128 + signal
