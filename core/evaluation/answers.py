"""What a model says, and what is known of how sure it was: the values that tasks make and reports are made of."""

from dataclasses import dataclass, field

Message = dict[str, str]
# What a model is asked: a text, or a conversation of {"role", "content"} whose last turn is the person's.
Asked = str | list[Message]


@dataclass(frozen=True)
class Prediction:
    """The answer to one example.

    Attributes:
        answer: the label, the labels with commas between, or what was written.
        confidence: its probability, 0 to 1; None for written answers.
        probabilities: every label with its probability, most probable first; empty for written answers.
        labels: the labels that were given, none, one or several; empty for written answers.
    """

    answer: str
    confidence: float | None = None
    probabilities: tuple[tuple[str, float], ...] = ()
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answers:
    """What a model, or a simple method, made of the judged rows.

    Attributes:
        predictions: one for each row, in order; empty where the task writes nothing that could be compared.
        token_losses: for each row (sum of the negative log-likelihoods in nats, tokens, tokens whose likeliest guess
            was right); empty where no probability is known, as of simple methods.
    """

    predictions: list[Prediction] = field(default_factory=list)
    token_losses: list[tuple[float, int, int]] = field(default_factory=list)
