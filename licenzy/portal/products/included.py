"""The rows of a product's form that describe its included units."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from wtforms import BooleanField, FieldList, Form, IntegerField, SelectField, StringField
from wtforms.fields.choices import SelectChoice
from wtforms.validators import InputRequired, Optional

from licenzy.catalog.included import LINES_MAX, Every, IncludedUnits, Renewing, Rollover, fits
from licenzy.catalog.unit_names import UNIT_MAX

EVERY_CHOICES = [
    SelectChoice(Every.DAY.value, "day"),
    SelectChoice(Every.WEEK.value, "week"),
    SelectChoice(Every.MONTH.value, "month"),
    SelectChoice(Every.PERIOD.value, "billing period"),
]
_ADD, _REMOVE = "add", "remove"


class Proposal(NamedTuple):
    """A plan as many sell it, filled into a new row with one click."""

    label: str
    units: int
    every: Every
    rollover: Rollover | None = None


PROPOSALS = {
    "month": Proposal("1,000 a month", 1000, Every.MONTH),
    "month-rollover": Proposal("1,000 a month, 500 carry over", 1000, Every.MONTH, Rollover(500)),
    "day": Proposal("20 a day", 20, Every.DAY),
    "period": Proposal("10,000 each billing period", 10_000, Every.PERIOD),
}


class IncludedRow(Form):  # type: ignore[misc]  # wtforms carries no types.
    """One included unit."""

    unit = StringField(
        "Unit",
        description="A name such as images. Your backend sends it when it consumes.",
        render_kw={
            "autocomplete": "off",
            "autocapitalize": "off",
            "spellcheck": "false",
            "maxlength": UNIT_MAX,
            "list": "known-units",
        },
    )
    units = IntegerField(
        "Units",
        validators=[InputRequired("Enter how many units.")],
        description="How many are granted each time, for each item of the quantity.",
    )
    every = SelectField(
        "Every",
        choices=EVERY_CHOICES,
        default=Every.MONTH.value,
        description="Counted from the start of the subscription, for a free product in UTC. "
        "A billing period ends with each renewal.",
    )
    rollover = BooleanField(
        "Unused units carry over once",
        description="They stay usable until the next grant ends. Otherwise they are forfeited.",
    )
    at_most = IntegerField(
        "Carry over at most", validators=[Optional()], description="Empty: all that are unused."
    )
    trial_units = IntegerField(
        "In a trial",
        validators=[Optional()],
        description="How many a trial has, if there is one. Empty: as many as Units.",
    )
    low_units = IntegerField(
        "Notify when this many are left",
        validators=[Optional()],
        description="Endpoints get usage.low once for each grant. Empty: no event.",
    )

    @property
    def blank(self) -> bool:
        """Whether nothing was typed into it."""
        typed = (self.unit, self.units, self.at_most, self.trial_units, self.low_units)
        return not any((each.raw_data or [each.data])[0] not in ("", None) for each in typed)

    @property
    def line(self) -> IncludedUnits | None:
        """What the row describes; none while unit, units or step are missing."""
        if not self.unit.data or self.units.data is None or self.every.data not in set(Every):
            return None
        return self.valid_line()

    def valid_line(self) -> IncludedUnits:
        """What the row describes. Call it on a valid row only."""
        return IncludedUnits(
            unit=(self.unit.data or "").strip(),
            units=self.units.data,
            every=Every(self.every.data),
            rollover=Rollover(self.at_most.data) if self.rollover.data else None,
            trial_units=self.trial_units.data,
            low_units=self.low_units.data,
        )


class IncludedRows(FieldList):  # type: ignore[misc]  # wtforms carries no types.
    """The rows, numbered as the lines that they describe."""

    changed = ""
    """The id of the field or button to go on with after rows were added or removed."""

    @property
    def full(self) -> bool:
        """Whether no row can be added."""
        return len(self.entries) >= LINES_MAX

    def change(self, act: str, *, default_unit: str) -> None:
        """Add or remove a row, as the value of a button of `PROPOSALS` or of a row says; else nothing.

        A proposal is of the default unit, unless another row has it.
        """
        verb, _, name = act.partition(":")
        if verb == _REMOVE and name.isdecimal() and len(name) < 4 and int(name) < len(self.entries):
            self.pop_entry(int(name))
            self.changed = "included-add"
        elif verb == _ADD and not self.full:
            taken = {(row.form.unit.data or "").strip() for row in self.entries}
            row = self.append_entry(_proposed(PROPOSALS.get(name), default_unit, taken))
            field = row.form.units if row.form.unit.data else row.form.unit
            self.changed = field.id

    def drop_blank(self) -> None:
        """Remove the rows into which nothing was typed."""
        for place in reversed(range(len(self.entries))):
            if self.entries[place].form.blank:
                self.pop_entry(place)

    def lines(self) -> tuple[IncludedUnits, ...]:
        """What the rows describe. Call it on a valid form only."""
        return tuple(row.form.valid_line() for row in self.entries)

    def whole_lines(self) -> tuple[IncludedUnits, ...]:
        """What the rows describe that say enough."""
        return tuple(line for row in self.entries if (line := row.form.line) is not None)

    def _extract_indices(self, prefix: str, formdata: Iterable[str]) -> Iterator[int]:
        # Of the library's own, which takes any digit of Unicode and numbers of any length for an index.
        for name in formdata:
            index = name.removeprefix(f"{prefix}-").partition("-")[0]
            if name.startswith(f"{prefix}-") and index.isascii() and index.isdigit() and len(index) < 4:
                yield int(index)


def fitting_proposals(prices: Sequence[Renewing], *, is_sold: bool) -> dict[str, Proposal]:
    """Those that fit the product, whose step no price is shorter than, by the value of their button."""
    return {
        f"{_ADD}:{name}": proposal
        for name, proposal in PROPOSALS.items()
        if all(fits(proposal.every, price) for price in prices)
        and (is_sold or (proposal.every is not Every.PERIOD and proposal.rollover is None))
    }


def row_values(line: IncludedUnits) -> dict[str, Any]:
    """A line as the row's values."""
    return {
        "unit": line.unit,
        "units": line.units,
        "every": line.every.value,
        "rollover": line.rollover is not None,
        "at_most": line.rollover.at_most if line.rollover is not None else None,
        "trial_units": line.trial_units,
        "low_units": line.low_units,
    }


def _proposed(proposal: Proposal | None, default_unit: str, taken: Collection[str]) -> dict[str, Any]:
    if proposal is None:
        return {}
    unit = "" if default_unit in taken else default_unit
    return row_values(IncludedUnits(unit, proposal.units, proposal.every, proposal.rollover))
