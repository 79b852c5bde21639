"""Questions read from texts, and those that must not be read: a wrong reading is worse than none.

That every template, noise and wording is read: test_wordings.py.
Run: python -m pytest tests/papers/arithmetic/test_questions.py
"""

import pytest

from goat.papers.arithmetic.operations import OPERATIONS
from goat.papers.arithmetic.questions import find_question, read_instruction
from goat.papers.arithmetic.wordings import TEMPLATES
from support.asking import operands_in

NO_QUESTION = """\
What is negative 5 plus 3?|What is −5 + 3?|5 + 3²|5 + 3½|10 - 3 - x|−5 + 3|-5 + 3|- 5 + 3|+5 + 3
minus 5 plus 3|5 plus minus 3|5 + -3|5 - −3|−(5 + 3)|-(5 + 3)|±5 + 3|5 ± 3|~5 + 3|10 − 3 + 2
5 + 3^2|5 + 3**2|5 ** 3|5 + 3^n|5 + 3 squared|5 + 3 to the power of n|the square root of 9 + 16
√9 + 16|sqrt(9 + 16)|log 5 + 3|absolute value of 3 - 5|f(3 + 4)|x(3 + 4)|(3 + 4)x|(3 + 4)(2)
0.5 + 3|.5 + 3|5 + .3|5 + 3.5|5,000 + 3|5 + 3,000|1/2 + 3|5 + 3/4|5⁄3 + 4|5 + 3⁄4|5 + 3 ½
half of 5 + 3|2(3 + 4)|5° + 3|5 + 3'|3 + 4π
5% + 3|5 + 3%|5 + 3 percent|5k + 3|5 + 3k|5 thousand + 3|5 + 3 thousand|5 + 3 million|a dozen + 3
5 + 3 dozen|one hundred 5 + 3|five plus 3 + 4|twice 5 + 3|three times 5 + 3|3 hours + 4 minutes
5 + 3!|(5 + 3)!|5! + 3|5 + 3 !|5e3 + 4|3 + 4e2|5 + 3i|5 + 3 i|5 + 3x|x5 + 3|2x5 + 3
5 + 3 * x|x + 5 + 3|3 + 4 * 5|5 + 3 plus|5 plus 3 plus x|5 + 3 mod x|5 + 3 over x|5 + 3 divided by x
3 + 4...|3 + 4 + ...|3 + 4 = x + 2|3:4 + 5|5·3 + 2|5 // 3|5 ×× 3|5 + 3 - |$5 + 3|5 + 3 in binary
the sum of 3 and 4 squared|twice the sum of 3 and 4|the sum of 3, 4 and 5|the sum of -3 and 4
the sum of 3 and 4 and 5|the sum of 3 and 4x|the sum of the squares of 3 and 4|Add 5 and -3.
Add 5 and 3 and x.|Add −5 and 3.|Add 5 and 3½.|Multiply 5 and 3 by itself.|Reduce 5 + 3 by 2.
gcd of 48 and 18|48 gcd 18|lcm of 4 and 6|٣ + ٤|Tom runs 3-5 miles a day. How far in a week?
What is the number next to 3 + 4?|What is 3 + 4 rounded to tens?""".replace("\n", "|").split("|")
READ = """\
3 + 4|3+4|3  +  4|(3 + 4)|"3 + 4"|3 + 4 = |3+4=?|What is 3 + 4?|What's 3 + 4|what’s 3 plus 4?
Hey, what's 3 + 4, please?|Hello! Can you tell me what 3 plus 4 is?|Q: What is 3 plus 4?\nA:
What is (3 + 4)?|What is the sum of 3 and 4?|Could you please work out the sum of 3 and 4?
add 3 and 4.|Add 3 and 4|CALCULATE 3 PLUS 4
I want to know what 3 + 4 equals.|Solve 3 + 4 step by step, thanks!
sum of 3 and 4|Please compute: 3 + 4|let's see, what is 3 plus 4?|How much is 3 + 4, by hand?
3 + 4 is what number?|What is the total of 3 and 4?""".replace("\nA:", "\0").replace(
    "\n", "|").replace("\0", "\nA:").split("|")


@pytest.mark.parametrize("text", [
    *NO_QUESTION, "|3 - 5|", "What is |3 - 5|?", "What is it?", "1" * 3000 + " + 1",
    "What is!5 + 3", "5 + 3 to the", "What is 5 + 3!"])
def test_what_could_mean_something_else_is_not_read(text):
    assert operands_in(text) is None


@pytest.mark.parametrize("text", READ)
def test_ordinary_questions_are_read(text):
    assert operands_in(text) == (3, "+", 4)


def test_other_signs():
    for text, asked in (("What is 12 × 7?", (12, "*", 7)), ("12 X 7", (12, "*", 7)),
                        ("what is 8 ÷ 2", (8, "/", 2)), ("8 Divided By 2?", (8, "/", 2))):
        assert operands_in(text) == asked


CHANGES = ("negative {}", "−{}", "-{}", "{}²", "{}½", "{}%", "{}!", "{} thousand", "{}k", "√{}",
           "({})^n", "{} + x", "x * {}", "{} squared", "twice {}", "{}.5", "0{}e", "{}…")


@pytest.mark.parametrize("op", OPERATIONS)
def test_a_change_in_a_template_is_never_read_over(op):
    """Signs, powers, units and further operands, put into every template."""
    for template in TEMPLATES:
        for change in CHANGES:
            text = template.format(input=change.format(f"71 {op} 8"))
            assert find_question(text) is None, text


def test_a_row_may_be_asked_in_any_words_that_change_nothing():
    for text in ("Kindly resolve {}!", "{} => ?", "I say {}, you say?", "Wie groß ist {}?",
                 "Step-by-step: {}", "# {}"):
        assert read_instruction(text.format("62 * 5083")) == (62, "*", 5083)
        assert read_instruction(text.format("the product of 62 and 5083")) == (62, "*", 5083)
        for change in ("negative {}", "−{}", "{}²", "{}½", "{}%", "{}k", "{} + x", "{} thousand"):
            assert read_instruction(text.format(change.format("62 * 5083"))) is None
