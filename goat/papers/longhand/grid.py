"""Long division acted out on a squared sheet: the trace of Recchia 2021 (arXiv 2109.02102).

The paper's model was shown 200 of these. Nothing is remembered: every symbol is written into a
cell of the sheet and looked up again when it is needed.

    write 00,02:201 4 01,02:202 5 …   symbols into cells COLUMN,ROW:TAG; `_` is a blank
    look 04,02:202 7                  reads cells
    clear                             the scratch area may be used anew
    { 7 - 5 = 2 }                     narration, without effect on the sheet

A cell's tag is 201 + the number of digits that stand without a gap to its left: it says which
digit of its number a cell holds. Scratch work keeps its cells until they are written over, so tags
of a second round count digits of the first.

             columns from 0                        scratch area, columns from 70
    row 0                                            0
    row 1             quotient                     + divisor
    row 2    divisor ſ dividend                      their sum
    row 3           -  multiple                    + divisor
    row 4              what is left                  their sum, and so on downwards

A quotient digit d is found by adding the divisor d + 1 times: the last sum that fits is taken.
The format was read off the published demonstrations; the code is our own.
"""

from goat.errors import UserError

SCRATCH = 70  # column of the plus sign; a sum with one digit more moves it to 69
DIGITS = 39  # of divisor and dividend together, so that coordinates have two digits

Cell = tuple[int, int]  # column, row


class Sheet:
    """The squared sheet, and the list of everything done on it."""

    def __init__(self, narrate: bool):
        self.narrate = narrate
        self.symbols: dict[Cell, str] = {}
        self.actions: list[str] = []

    def at(self, cell: Cell) -> str:
        return self.symbols.get(cell, "_")

    def digit(self, cell: Cell) -> int:
        """The number in a cell; blanks and signs count as 0."""
        symbol = self.at(cell)
        return int(symbol) if symbol.isdigit() else 0

    def show(self, cell: Cell) -> str:
        """ "04,02:202 7": where the cell is, its tag, and what it holds."""
        column, row = cell
        start = column
        while self.at((start - 1, row)).isdigit():
            start -= 1
        return f"{column:02},{row:02}:{201 + column - start} {self.at(cell)}"

    def look(self, *cells: Cell) -> None:
        self.actions.append(" ".join(["look", *map(self.show, cells)]))

    def write(self, *symbols: tuple[Cell, str]) -> None:
        words = ["write"]
        for cell, symbol in symbols:
            self.symbols[cell] = symbol
            words.append(self.show(cell))
        self.actions.append(" ".join(words))

    def say(self, text: str) -> None:
        if self.narrate:
            self.actions.append(f"{{ {text} }}")


def actions(x: int, y: int, narrate: bool = True) -> list[str]:
    """The trace of x mod y, one string per action; the last one names the remainder.
    `narrate=False` leaves out all narration but that. Raises UserError for a dividend below the
    divisor, which never is asked in the dataset, and for numbers that do not fit the sheet."""
    size = len(str(y))
    if x < y or size + len(str(x)) > DIGITS:
        raise UserError(f"the grid forms cannot work out {x} % {y}: the dividend must not be below "
                        f"the divisor, and both may have {DIGITS} digits together")
    sheet = Sheet(narrate)
    sheet.write(*_spread(0, 2, f"{y}ſ{x}"))
    row, low, high = 2, size + 1, 2 * size  # the window: dividend digits at work
    window = _cells(low, high, row)
    if _compare(sheet, _cells(0, size, 2), window) < 0:
        high += 1
        window = _cells(low, high, row)
        sheet.look(*window)
        _compare(sheet, _cells(0, size, 2), window)
    while True:
        multiple = _climb(sheet, str(y), window, (high, 1))
        _subtract(sheet, _cells(low, high, row), multiple)
        row += 2
        low = _strip(sheet, low, row)
        sheet.say("read the answer")
        sheet.look(*_cells(min(low, high), high + 1, row))
        high += 1
        sheet.look((high, 2))
        if sheet.at((high, 2)) == "_":
            remainder = [sheet.at(cell) for cell in _cells(low, high - 1, row)] or ["0"]
            return [*sheet.actions, f"{{ final remainder is {' '.join(remainder)} }}"]
        sheet.write(((high, row), sheet.at((high, 2))))
        window = _cells(low, high + 1, row)  # with the blank behind it


def _cells(first: int, last: int, row: int) -> list[Cell]:
    return [(column, row) for column in range(first, last + 1)]


def _spread(column: int, row: int, symbols: str) -> list[tuple[Cell, str]]:
    return [((column + i, row), symbol) for i, symbol in enumerate(symbols)]


def _spaced(n: int) -> str:
    return " ".join(str(n))


def _relation(first: int, second: int) -> str:
    """What the second number is, seen from the first."""
    return "larger" if second > first else "smaller" if second < first else "equal"


def _compare(sheet: Sheet, first: list[Cell], second: list[Cell]) -> int:
    """Compare two numbers, by length, then digit by digit: > 0 if the second is larger."""
    digits = [[cell for cell in cells if sheet.at(cell).isdigit()] for cells in (first, second)]
    lengths = [len(cells) for cells in digits]
    sheet.say("compare")
    sheet.look(*first)
    sheet.say(f"{lengths[0]} digits")
    sheet.look(*second)
    sheet.say(f"{lengths[1]} digits {_relation(*lengths)}")
    if lengths[0] != lengths[1]:
        return lengths[1] - lengths[0]
    for pair in zip(*digits):
        for cell in pair:
            sheet.look(cell)
        a, b = map(sheet.digit, pair)
        sheet.say(f"{a} , {b} {_relation(a, b)}")
        if a != b:
            return b - a
    return 0


def _climb(sheet: Sheet, divisor: str, window: list[Cell], quotient: Cell) -> Cell:
    """Add the divisor until the sum exceeds the window, counting in the cell `quotient`; returns
    where the last sum that fits begins, one cell before or at its first digit."""
    size = len(divisor)
    right = SCRATCH + size
    sheet.write((quotient, "0"))
    sheet.actions.append("clear")
    sheet.look(*_cells(0, size - 1, 2))
    sheet.write(*_spread(SCRATCH + 1, 0, "0".rjust(size, "_")), *_spread(SCRATCH, 1, "+" + divisor))
    plus, top = SCRATCH, 0
    while True:
        _add(sheet, plus, right, top)
        top += 2
        if _compare(sheet, _cells(plus, right + 1, top), window) < 0:
            return plus, top - 2
        sheet.look(quotient)
        count = sheet.digit(quotient) + 1
        sheet.say(f"{sheet.show(quotient)} + 1 = {count}")
        plus = SCRATCH if sheet.at((SCRATCH, top)) == "_" else SCRATCH - 1
        sheet.write((quotient, str(count)), ((plus, top + 1), "+"),
                    *_spread(SCRATCH + 1, top + 1, divisor))


def _add(sheet: Sheet, plus: int, right: int, top: int) -> None:
    """Add rows `top` and `top + 1` column by column, from the right, into row `top + 2`."""
    carry = 0
    for column in range(right, plus, -1):
        a, b = (column, top), (column, top + 1)
        sheet.look(a, b)
        total = sheet.digit(a) + sheet.digit(b)
        sheet.say(f"{sheet.show(a)} + {sheet.show(b)} = {_spaced(total)}")
        if carry:
            sheet.say(f"{_spaced(total)} + 1 = {_spaced(total + 1)}")
        carry, digit = divmod(total + carry, 10)
        sheet.write(((column, top + 2), str(digit)))
        if carry:
            sheet.say("carry the 1")
    if plus == SCRATCH:
        sheet.look((plus, top), (plus, top + 1))
    sheet.say("0 + 0 = 0")
    if carry:
        sheet.say("0 + 1 = 1")
        sheet.write(((plus, top + 2), "1"))


def _subtract(sheet: Sheet, window: list[Cell], multiple: Cell) -> None:
    """Read the multiple that begins at a cell, write it under the window and subtract it there,
    from the right, with borrowing."""
    read = [multiple]
    while sheet.at(read[-1]) != "_" or len(read) == 1:
        read.append((read[-1][0] + 1, read[-1][1]))
    sheet.look(*read)
    digits = "".join(sheet.at(cell) for cell in read).strip("_")
    (low, row), (high, _) = window[0], window[-1]
    sheet.write(((low - 1, row + 1), "-"))
    sheet.write(*_spread(high - len(digits) + 1, row + 1, digits))
    for column in range(high, low - 1, -1):
        sheet.look((column, row))
        sheet.look((column, row + 1))
        a, b = sheet.digit((column, row)), sheet.digit((column, row + 1))
        sheet.say(f"{a} , {b} {_relation(a, b)}")
        if b > a:
            _borrow(sheet, column - 1, row)
            a += 10
        sheet.say(f"{_spaced(a)} - {b} = {a - b}")
        sheet.write(((column, row + 2), str(a - b)))


def _borrow(sheet: Sheet, column: int, row: int) -> None:
    """Take 1 from the nearest digit that is not 0; the zeros on the way become nines."""
    sheet.say("borrow a 1")
    sheet.look((column, row))
    while sheet.digit((column, row)) == 0:
        sheet.say("change 0 to 9")
        sheet.write(((column, row), "9"))
        column -= 1
        sheet.look((column, row))
    digit = sheet.digit((column, row))
    sheet.say(f"{digit} - 1 = {digit - 1}")
    sheet.write(((column, row), str(digit - 1)))


def _strip(sheet: Sheet, low: int, row: int) -> int:
    """Blank the zeros in front of a difference; returns the column that it now starts at. A
    difference of 0 vanishes: it starts behind its last column."""
    sheet.look((low, row))
    while sheet.at((low, row)) == "0":
        sheet.write(((low, row), "_"))
        low += 1
        sheet.look((low, row))
    return low
