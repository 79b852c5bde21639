"""Pairs of answers of MATH's kinds, by hand: the same, and different ones that look alike; and ways
to change an answer of which it is known whether it stays the same. Nothing here is a test."""

import re

# What math_answers.py takes for the same answer.
SAME = {
    "numbers": [
        (r"10\,000", "10000"), ("50 percent", r"50\%"), (r"1.5 \times 10^8", "150,000,000"),
        ("18", "18.0"), ("$1,234.50", "1234.5"), ("-0", "0"), ("1{,}000{,}000", "1000000"),
        (r"1,\!000", "1000"), ("1,000,000", "10^6"), (".5", "0.5"), ("+7", "7"), ("−5", "-5"),
        (r"\mathbf{2340}", "2340"), ("18.", "18"), (r"\boxed{18}", "18"),
        (r"x \approx 5", "5"), ("0.00019999999999999998", "0.0002"),
        ("5.551115123125783e-17", "0"), ("0.0003333333333333333", r"\frac{1}{3000}"),
        (r"The answer is $\boxed{\frac12}$.", "0.5"), (r"\left(5\right)", "5"), ("4!", "24"),
        (r"\binom{5}{2}", "10"), ("|-3|", "3"), ("71.99999999999999", "72")],
    "fractions": [
        (r"\frac12", "0.5"), (r"\dfrac{1}{2}", "1/2"), (r"\tfrac{1}{2}", r"\frac 12"),
        ("1/2", "0.5"), (r"\frac{2}{4}", r"\frac12"), (r"-\frac{3}{4}", r"\frac{-3}{4}"),
        (r"-\frac{3}{4}", r"\frac{3}{-4}"), ("-3/4", r"-\frac34"),
        (r"\frac{1}{29,\!322,\!216}", "1/29322216"), (r"0.\overline{3}", r"\frac13"),
        (r"0.1\overline{6}", "1/6"), (r"\frac{1/2}{3}", "1/6"), (r"\frac{3}{2}", "1.5"),
        (r"\frac13", "0.3333333333333333"), (r"\frac13", "0.333333"),
        (r"\frac{a}{b}", "a/b"), ("1/72", r"\frac1{72}"), (r"0.\overline{142857}", r"\frac17"),
        (r"\frac{29}4", "29/4"), (r"\cfrac{1}{2}", "0.5")],
    "mixed numbers": [
        (r"2\frac{1}{4}", r"\frac94"), ("2 1/4", "2.25"), ("3\t1/2", r"3\frac12"),
        (r"-15\frac{3}{5}", "-15.6"), (r"6\frac{1}{6}\text{ feet}", r"\frac{37}{6}")],
    "percent, money, degrees, units": [
        (r"50\%", "50"), ("50%", r"50 \%"), (r"237.5\%", "237.5"), (r"\$3.50", "3.5"),
        (r"\$1,\!657", "1657"), (r"\$ 251.60", "$251.60"), (r"90^\circ", "90"),
        (r"90^{\circ}", "90°"), (r"\frac{990}{7}^\circ", r"\frac{990}{7}"),
        ("45 degrees", r"45^\circ"), (r"18\text{ cm}", "18"), (r"2400 \mbox{ cm}^2", "2400"),
        (r"20\text{ sq. units}", "20 square units"), (r"\frac{11}{15}\text{ days}", "11/15"),
        (r"12\sqrt{13}\text{ feet}", r"12\sqrt{13}"), (r"164 \pi \mbox{ square feet}", r"164\pi"),
        (r"1.85\ \text{USD}", "1.85"), ("40 miles/hour", r"40\text{ mph}"),
        (r"5\sqrt{2} cm", r"5\sqrt2"), ("18 eggs", "18"), (r"\approx 8.24 \text{ mph}", "8.24"),
        (r"\$\dfrac23 \approx \$0.67", r"\frac23"), (r"2\text{ million}", "2000000"),
        (r"8\!:\!34 \text{ p.m.}", "8:34 pm"), (r"5 \text{ cm}^3", "5"), ("5 halves", "2.5"),
        (r"16\pi \mathrm{cm}^2", r"16\pi")],
    "roots, powers, constants": [
        (r"\sin \pi", "0"), (r"e^{i\pi}+1", "0"), (r"\sin^{-1}\frac12", r"\frac{\pi}{6}"),
        (r"\sqrt{4}", "2"), (r"2\sqrt3", r"\sqrt{12}"), (r"\frac{1}{\sqrt2}", r"\frac{\sqrt2}{2}"),
        (r"\sqrt[3]{8}", "2"), (r"\sqrt[3]{-8}", "-2"), ("2^{10}", "1024"), ("2^10", "1024"),
        ("2**10", "1024"), ("x^{1/2}", r"\sqrt{x}"), ("12^{1/7}", r"\sqrt[7]{12}"),
        ("sqrt(3)/2", r"\frac{\sqrt{3}}{2}"), ("2*sqrt(3)", r"2\sqrt{3}"), ("√2", r"\sqrt{2}"),
        ("pi/4", r"\frac{\pi}{4}"), ("2π", r"2 \pi"), ("6.283185307179586", r"2\pi"),
        (r"\frac{3}{\pi}", r"3\pi^{-1}"), ("e^{2}", "e*e"), (r"\ln e", "1"), (r"\log_2 8", "3"),
        (r"\log_{10} 100", r"\log 100"), ("i^2", "-1"), (r"3\sqrt{-1}", "3i"), ("(1+i)^2", "2i"),
        (r"\sqrt{5+2\sqrt6}", r"\sqrt2+\sqrt3"), (r"\sin 30^\circ", r"\frac12"),
        (r"\cos\frac{\pi}{3}", "0.5"), (r"\tan 15^\circ", r"2-\sqrt3"),
        (r"\sin^2 t", r"1-\cos^2 t"), ("2^{2008}-2^{2007}", "2^{2007}"),
        (r"\frac{1}{2^{98}}", "2^{-98}")],
    "scientific": [
        (r"4.5 \times 10^{-3}", "0.0045"), ("4.5e-3", r"4.5\cdot 10^{-3}"), ("3 x 10^5", "300000"),
        ("1.5e3", "1500")],
    "intervals": [
        ("(2, infinity)", r"(2,\infty)"),
        ("(0,1]", r"\left( 0, 1 \right]"), (r"[2,\infty)", r"x \ge 2"),
        (r"(-\infty,3)\cup(3,\infty)", r"(3, \infty) \cup (-\infty, 3)"),
        ("(0,0.5)", r"(0,\frac12)"), ("0<x<=1", "(0,1]"), ("1 > x > 0", "(0,1)"),
        (r"x \in [0,1]", "[0,1]"), (r"(-\infty, \frac{3}{4})", "x<0.75"), (r"2 \le x", r"x \geq 2"),
        ("[2,∞)", r"[2,\infty)")],
    "tuples, sets, lists": [
        ("(1,2)", "( 1 , 2 )"), (r"(\frac12, 3)", "(0.5,3)"), ("1,2", "2, 1"), ("1 and 2", "1, 2"),
        (r"-2 \text{ or } -12", "-12,-2"), (r"\{1,2,3\}", r"\{3,2,1\}"), (r"\{1,2\}", "1, 2"),
        (r"6, 8\text{, and }10", "10, 8, 6"), ("(1,2),(3,4)", "(3,4); (1,2)"),
        (r"\emptyset", r"\{\}"), ("A, C", r"\text{A,C}"), ("1,-1,i,-i", "i,-i,1,-1"),
        ("2, 3, 5", "2,3,5"), ("3:1", "3 : 1"),
        (r"\langle 1, 2\rangle", r"\left\langle 1,2 \right\rangle"), ("x=1, x=2", "1, 2")],
    "matrices": [
        (r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}", r"\begin{bmatrix}1&2\\3&4\end{bmatrix}"),
        (r"\begin{pmatrix} 1/2 \\ 0.5 \end{pmatrix}",
         r"\begin{pmatrix}\frac12\\[2pt]\frac12\\\end{pmatrix}"),
        (r"\begin{pmatrix} 1 & -1 \\ 1 & \phantom -1 \end{pmatrix}",
         r"\begin{pmatrix}1&-1\\1&1\end{pmatrix}")],
    "plus and minus": [
        (r"\pm 3", "3, -3"), (r"1 \pm \sqrt{2}", r"1-\sqrt2, 1+\sqrt2"), (r"x = \pm 2", "-2, 2"),
        (r"\pm 1 \pm i", "1+i,1-i,-1+i,-1-i"), (r"1 \mp \sqrt2", r"1 \pm \sqrt2"),
        ("±3", r"\pm 3")],
    "equations": [
        ("x = 5", "5"), ("x=5", "5 = x"), ("y = 2x+1", "2x+1"), ("y = 2x+1", "2x - y + 1 = 0"),
        ("y=-1", "y + 1 = 0"), ("f(x) = x^2", "x^2"), (r"AB = 12+12\sqrt{3}", r"12(1+\sqrt3)"),
        ("2x - y + 3z + 8 = 0", "-4x+2y-6z-16=0"), ("x = 3/2 ", r"x=1\frac12"), ("2+3 = 5", "5"),
        ("AB=9, CD=4", "CD=4, AB=9"), (r"-80\leq g(x)\leq 82", r"82 \ge g(x) \ge -80"),
        ("x_1 = 3", "3")],
    "expressions": [
        ("2(x+1)", "2x+2"), ("(x-1)(x+1)", "x^2-1"), (r"\frac{4-x}{5}", r"-\frac{x-4}{5}"),
        ("x^2+2x+1", "(x+1)^2"), ("ab + ac", "a(b+c)"), ("xy", "yx"), ("3x(2)", "6x"),
        (r"\frac{x^2-1}{x-1}", "x+1"), ("2x/3", r"\frac{2}{3}x"),
        (r"10p^3\sqrt{3p}", r"10\sqrt{3p^7}"), (r"2\cdot x", "x*2"), ("-(ab+ac+bc)", "-ab-bc-ca"),
        (r"2\sin x\cos x", r"\sin 2x"), (r"\cot x", r"\frac{\cos x}{\sin x}"),
        (r"\pi a^2", r"a^2\pi"), ("2^{n-1}", r"\frac{2^n}{2}"), (r"\frac{x+y}{2}", "(x+y)/2"),
        ("x - -3", "x+3"), (r"3 \sec \frac{1}{2} \theta", r"\frac{3}{\cos(\theta/2)}"),
        ("x^2 y", "yx^2"), (r"\theta", "θ"), ("(3y-5)^2", "(5-3y)^2")],
    "words": [
        ("Yes", "yes"), ("YES", "yes"), (r"\text{yes}", "Yes."), (r"\text{(E)}", "E"),
        (r"(\text{H})", "H"), (r"\textbf{No}", "no"),
        (r"\text{even}", "Even"), (r"\text{Monday}", "monday"),
        (r"\text{October 30}", "October 30"), (r"\text{two lines}", "two  lines"),
        (r"\text{A}", "(A)")],
    "bases": [
        ("101_2", "101_{2}"), ("1061_{9}", "1061_9"), (r"\text{A5}_{11}", "A5_{11}"),
        ("0101_2", "101_2")],
}

# What it does not.
OTHER = {
    "numbers": [
        ("18", "18.002"), ("18", "-18"), ("1,23", "123"), ("12,34", "1234"), ("2 3", "23"),
        ("2 3", "6"), ("5 or 6", "5"), ("1000", "1,00"), ("4!", "4"), ("0.1", "0.11"),
        ("10^6", "10^5"), ("5 am", "5 pm"), ("2 trillion", "2"), ("1 half", "1"), ("", "0"),
        ("--5", "5"), ("2^{2008}", "2^{2008}-2"), ("1e3", "13"),
        ("0.000068", ".0000672"), (r"x \approx 5", r"x \approx 6")],
    "fractions": [
        (r"\frac{1}{1000001}", "0.000001"), (r"\frac13", "0.3334"), (r"\frac13", "3"),
        ("0.33", "1/3"), ("0.33", r"\frac13"), ("0.333", r"\frac13"), (r"\frac12", r"\frac21"),
        (r"\frac{1}{2}", "12"), (r"\frac{1}{2}", r"-\frac12"), (r"\frac1{72}", "1/7"),
        (r"\frac43", "43"), ("0.67", r"\frac23"), (r"\frac{1}{29322216}", "0"),
        (r"0.\overline{3}", "0.3"), (r"0.\overline{16}", r"0.1\overline{6}"), ("1/0", "0"),
        ("1/0", r"\frac{2}{0}"), (r"\frac{22}{7}", r"\pi")],
    "mixed numbers": [
        (r"2\frac{1}{4}", r"\frac{2}{4}"), (r"2\frac{1}{4}", "0.5"), ("3 1/2", "31/2"),
        (r"-1\frac12", "-0.5"), ("3 1/2", "1.5")],
    "percent, money, degrees, units": [
        (r"50\%", "0.5"), (r"8\%", "80"), (r"\$3.50", "350"), (r"45^\circ", r"\frac{\pi}{4}"),
        (r"18\text{ cm}", "1.8"), ("2 million", "2"), ("3 dozen eggs", "3"),
        (r"8:34 \text{ p.m.}", r"8:34 \text{ a.m.}"), ("8:34", "8.34"), ("9y", "9"), ("9y", "9z"),
        ("2x", "2"), ("12k", "12"), ("5i", "5"), ("18x^2", "18"), ("2 ab", "2"), (r"3\pi", "3"),
        ("5e", "5"), ("90'", "9")],
    "roots, powers, constants": [
        (r"\sin \pi", r"\sin \frac{\pi}{180}"), (r"e^{i\pi}", "1"), ("e^{-80}", "e^{-81}"),
        (r"2\pi", "6.28"), (r"\pi", "3.14159"), (r"2\pi", "6.2831853"), (r"\sqrt2", "1.414"),
        (r"\sqrt2", "1.41421356"), (r"2\sqrt3", r"3\sqrt2"), (r"\sqrt{12}", r"\sqrt{1}2"),
        (r"\sqrt[3]{8}", r"3\sqrt{8}"), ("2^{10}", "2^{11}"), ("2^{3}", r"2\cdot 3"),
        ("e", "2.718"), (r"\sqrt{2}+\sqrt{3}", r"\sqrt5"), (r"\sqrt{16}", "-4"), ("x^2", "x^3"),
        ("x^2", "2x"), (r"\sin 30", r"\frac12"), (r"\log 100", r"\ln 100"),
        (r"\log_2 8", r"\log_8 2"), ("i", "1"), ("3+4i", "3-4i"), ("3+4i", "5"),
        (r"\sin^2 t", r"\sin t^2"), (r"\sin^{-1} x", r"\frac{1}{\sin x}"),
        ("9^{9^{9^9}}", "9^{9^{9^8}}"), ("e^{-100}", "e^{-101}"), (r"\pi^2", "10"),
        (r"\frac{1+\sqrt5}{2}", "1.618"), (r"\frac{1+\sqrt5}{2}", r"\frac{1-\sqrt5}{2}"),
        ("355/113", r"\pi")],
    "scientific": [
        (r"4.5 \times 10^{-3}", r"4.5 \times 10^{3}"), ("1.5e3", "1.5"), ("3 x 10^5", "3"),
        (r"2 \times 10^{3}", "20^3")],
    "intervals": [
        (r"(-\infty, 2)", r"(\infty, 2)"), (r"x \in [0,1]", "x"),
        ("(1,2)", "[1,2]"), ("(1,2]", "[1,2)"), ("[0,1)", "(0,1)"), (r"[2,\infty)", r"(2,\infty)"),
        (r"[2,\infty)", r"(-\infty,2]"), (r"x \ge 2", "x > 2"), (r"x \ge 2", "2"), ("x<2", "2<x"),
        (r"(0,1)\cup(2,3)", "(0,3)"), (r"(0,1)\cup(2,3)", r"(0,1)\cup(2,4)"),
        (r"(0,1)\cup(2,3)", "(0,1),(2,3)"), (r"(0,\infty)", "(0,100)"), ("0<x<1", "0<y<=1")],
    "tuples, sets, lists": [
        ("(1,2)", "(2,1)"), ("(1,2)", "1,2"), ("(1,2,3)", "(1,2)"), ("1,2", "1,2,3"), ("1,2", "1"),
        ("1,1,2", "1,2,2"), (r"\{1,2\}", "(1,2)"), (r"\{1,2\}", r"\{1,3\}"),
        ("(1,2),(3,4)", "(1,4),(3,2)"), ("(1,2)", "12"), ("1,2", "1.2"), ("A, C", "A"),
        ("3:1", "1:3"), ("3:1", "3"), (r"\emptyset", r"\{0\}"), (r"\emptyset", "0"),
        ("(1,234)", "1234"), ("-1,2", "1,-2"), ("1,000", "1,0"), ("1,2", "3")],
    "matrices": [
        (r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}",
         r"\begin{pmatrix} 1 & 3 \\ 2 & 4 \end{pmatrix}"),
        (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{pmatrix} 1 & 2 \end{pmatrix}"),
        (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", "(1,2)"),
        (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\frac12"),
        (r"\begin{pmatrix} 0 & 0 \\ 0 & 0 \end{pmatrix}", "0")],
    "plus and minus": [
        (r"\pm 3", "3"), (r"\pm 3", "-3"), (r"1 \pm \sqrt{2}", r"1 + \sqrt2"),
        (r"\pm 1 \pm i", "1+i,-1-i"), (r"1 \pm \sqrt2", r"-1 \pm \sqrt2")],
    "equations": [
        ("x = 5", "y = 5"), ("x = 5", "x = 6"), ("x = 5", "-5"), ("x^2 = 25", "25"),
        ("x^2=25", "x=5"), ("y = 2x+1", "y = x+2"), ("y = 2x+1", "x = 2y+1"), ("y = 2x+1", "1"),
        ("2x - y + 3 = 0", "2x - y + 3"), ("2+3 = 6", "6"), ("x = 5 = 6", "5"), ("2x = 10", "10"),
        (r"x \ne 5", "5"), ("x=1, y=2", "x=2, y=1"), ("AB=9", "CD=9"), ("x+1=0", "1")],
    "expressions": [
        ("2(x+1)", "2x+1"), ("(x-1)(x+1)", "x^2+1"), ("x-y", "y-x"), ("x", "X"), ("x", "y"),
        ("a+b", "ab"), ("x^2-2x+1", "(x+1)^2"), (r"\frac{1}{x}", "x"), ("x/2y", "x/(3y)"),
        ("|x|", "x"), (r"\sqrt{x^2+y^2}", "x+y"), ("2^{n-1}", "2^n-1"),
        (r"\frac{a}{b}", r"\frac{b}{a}"), ("x_1", "x_2"), ("x_1", "x"), ("n!", "n"),
        (r"\sin x", r"\cos x"), (r"\sin x + y", r"\sin(x+y)"), ("-x^2", "(-x)^2"),
        ("x(x+1)", "x^2+1"), (r"2\sin x", r"\sin 2x"), ("x+0.001", "x"), ("AB", "BA")],
    "words": [
        ("AB", "ab"), ("no", "none"), (r"\text{even}", "2"),
        ("yes", "no"), (r"\text{even}", r"\text{odd}"), ("A", "B"), (r"\text{(A)}", r"\text{(B)}"),
        (r"\text{Monday}", r"\text{Sunday}"), ("yes", "1"), (r"\text{CBAD}", r"\text{ABCD}"),
        ("CBAD", "ABCD"), (r"\text{October 30}", r"\text{October 31}"), ("none", "0"),
        ("eggs", "0")],
    "bases": [
        ("101_2", "101_3"), ("101_2", "101"), ("101_2", "5"), ("101_2", "110_2"),
        ("12_5", "12_{50}")],
}


def _first_number(change):
    return lambda gold: re.sub(r"(?<![\d.])\d+(?![\d.])", lambda m: change(m[0]), gold, count=1)


def _only(pattern, change):
    """`change` for golds that match as a whole; others stay as they are."""
    return lambda gold: change(gold) if re.fullmatch(pattern, gold) else gold


def _cut(gold):
    top, bottom = map(int, re.findall(r"\d+", gold))
    return gold if 100 * top % bottom == 0 else f"{top / bottom:.2f}"


def _cut_root(gold):
    factor, radicand = re.fullmatch(r"(\d*)\\sqrt\{(\d+)\}", gold).groups()
    return f"{int(factor or 1) * int(radicand) ** 0.5:.3f}"


_VALUE = r"(?!.*(?:text|mbox|circ|begin|mathbf|_))(?!0$)[\w\\{}^. ]+"
_FRACTION = r"\\[dt]?frac\{\d+\}\{\d+\}"
_PAIR = r"\([^,()]*,[^,()]*\)"
_LIST = r"(?!.*\d,\d{3})(?!.*\\[,!])[^()\[\]{}]*,[^()\[\]{}]*"

# Name: (how a gold is changed, whether it is the same answer then).
CHANGES = {
    "spaces": (_only(_LIST, lambda gold: gold.replace(",", " , ")), True),
    "dfrac": (lambda gold: gold.replace("\\frac", "\\dfrac "), True),
    "boxed": (lambda gold: f"So it is $\\boxed{{{gold}}}$.", True),
    "dollars": (lambda gold: f"${gold}$", True),
    "plus and minus one": (_only(_VALUE, lambda gold: f"{gold} + 1 - 1"), True),
    "half of twice": (_only(_VALUE, lambda gold: f"\\frac{{2 \\cdot {gold}}}{{2}}"), True),
    "reversed": (_only(_LIST, lambda gold: ",".join(gold.split(",")[::-1])), True),
    "named": (_only(_VALUE, lambda gold: f"x = {gold}"), True),
    "percent": (_only(r"\d+", lambda gold: gold + "\\%"), True),
    "unit": (_only(rf"\d+|{_FRACTION}|\d*\\sqrt\{{\d+\}}",
                   lambda gold: gold + "\\text{ cm}"), True),
    "larger": (_first_number(lambda digits: str(int(digits) + 1)), False),
    "longer": (_first_number(lambda digits: digits + "1"), False),
    "negative": (_only(_VALUE, lambda gold: "-" + gold), False),
    "half": (_only(_VALUE, lambda gold: f"\\frac{{{gold}}}{{2}}"), False),
    "brackets": (_only(r"\([^()]*,[^()]*[])]", lambda gold: gold.replace("(", "[", 1)), False),
    "swapped": (_only(rf"(?!\((.*), ?\1\)){_PAIR}",
                      lambda gold: re.sub(r"\((.*),(.*)\)", r"(\2,\1)", gold)), False),
    "last left out": (_only(_LIST, lambda gold: gold.rpartition(",")[0]), False),
    "decimals cut": (_only(_FRACTION, _cut), False),
    "root cut": (_only(r"\d*\\sqrt\{\d+\}", _cut_root), False),
    "row for column": (_only(r"[^&]*pmatrix[^&]*", lambda gold: gold.replace("\\\\", "&")), False),
}
