"""What can go wrong for a person, as codes and facts; the sentences live in `ui/locales`."""

Fact = str | int | float | bool


class UserError(Exception):
    """Something that the person can mend: a code and the facts that its sentence needs.

    Args:
        code: key of the sentence, `errors.<code>` in the locales.
        facts: values put into the sentence (numbers, names, never prose).
    """

    def __init__(self, code: str, **facts: Fact) -> None:
        super().__init__(code, facts)
        self.code = code
        self.facts: dict[str, Fact] = facts

    def as_dict(self) -> dict[str, object]:
        """The error as JSON-ready `{"code", "facts"}`."""
        return {"code": self.code, "facts": self.facts}
